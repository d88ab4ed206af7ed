"""Data sets: where they are found, how they are read, and the batches a network learns from."""
