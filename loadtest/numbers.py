"""Numbers of the command line: what is no number, or none that makes sense, is refused before anything starts."""

from loadtest.errors import CannotRun

HIGHEST_RATE = 1e6  # requests/s; no process comes near it
MOST_USERS = 100_000
LARGEST_BATCH = 100_000


def above_zero(flag: str, value: float, most: float = HIGHEST_RATE) -> None:
    """Raises CannotRun naming the flag; NaN and infinity are neither."""
    if not 0 < value <= most:
        raise CannotRun(f"{flag} {value:g}: expected a number above 0, at most {most:g}")


def from_zero(flag: str, value: float, most: float) -> None:
    """Raises CannotRun naming the flag."""
    if not 0 <= value <= most:
        raise CannotRun(f"{flag} {value:g}: expected a number from 0 to {most:g}")
