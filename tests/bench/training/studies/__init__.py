"""Textbook results on depth, reproduced: `python -m tests.bench.training.studies`."""
