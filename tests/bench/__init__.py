"""Benchmarks: contenders side by side in alternating rounds, written into docs/benchmarks.md."""
