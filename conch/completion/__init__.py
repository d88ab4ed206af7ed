"""What a shell offers behind `conch` when Tab is pressed: verbs, flags, files, and the models of the running server."""
