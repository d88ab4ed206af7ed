"""The proofs on a GPU: skipped, with the reason, where there is none.

What they do is in `exactness.py` and `served.py`, which `tests/live/test_gpu_proofs.py` runs on a CPU.
"""
