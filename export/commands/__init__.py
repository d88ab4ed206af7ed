"""The commands of `conch export`, a file each."""
