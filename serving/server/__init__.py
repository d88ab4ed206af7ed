"""A Triton server on this machine, from start to clean stop."""
