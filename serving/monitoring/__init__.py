"""What is known of a running server from outside: what its supervisor saw, and how it answers golden requests."""
