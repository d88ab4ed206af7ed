"""The commands of `conch serve` and its neighbours, a file each."""
