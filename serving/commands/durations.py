"""Times as a person gives them."""

import re

from serving.errors import ServingError

UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(flag: str, text: str) -> float:
    """Seconds of "90s", "5m" or "1h".

    Raises:
        ServingError: It is something else, or nothing.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smh])\s*", text)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ServingError(f"{flag} {text}: expected a time above 0 as 90s, 5m or 1h")
    return seconds
