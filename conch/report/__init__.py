"""The page of all proofs: artifacts/report/index.html, made from what every stage left on disk."""
