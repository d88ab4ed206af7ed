"""The small networks that all others grew from."""
