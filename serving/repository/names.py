"""What a model may be called: its folder, its name on the wire and a word in the server's own commands."""

import re

from serving.errors import ServingError

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
ALLOWED = "letters, digits, '_', '.' and '-'"


def check_name(name: str) -> None:
    """Raise a `ServingError` where `name` cannot be a model's name."""
    if not SAFE_NAME.fullmatch(name):
        raise ServingError(f"model name {name!r} is no safe folder name, allowed are {ALLOWED}")
