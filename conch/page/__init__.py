"""A page on which people try the models of a running server, and get the code to call them."""
