"""How many servers keep a promise at a rate, from the measured curve of one: `conch size`."""
