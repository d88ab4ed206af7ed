"""The one command, `conch`, the contracts between the stages, and the page of all proofs."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
"""The folder that holds all packages: a checkout, or where they are installed."""
