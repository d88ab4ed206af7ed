"""Textbook results on depth, reproduced: `python -m tests.studies`."""
