"""The commands of `conch train`, a file each."""
