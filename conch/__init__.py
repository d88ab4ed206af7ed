"""The one command, `conch`, the contracts between the stages, and the page of all proofs."""
