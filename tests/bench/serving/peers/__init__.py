"""Servers to compare with, each in the quick way that its own documentation shows; they run in .venv-bench."""
