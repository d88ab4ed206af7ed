"""Another version of a model on a running server: proven there before clients get it, and taken back."""
