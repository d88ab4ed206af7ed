"""Codes and images made from them."""
