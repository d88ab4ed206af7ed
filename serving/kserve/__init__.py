"""What a running server says of itself, over KServe v2 and Triton's extensions."""
