"""Requests that nobody means well: by kind, from a seed, sent over raw sockets."""
