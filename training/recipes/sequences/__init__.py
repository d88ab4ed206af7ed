"""Text and other sequences, read or written a token at a time."""
