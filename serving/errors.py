"""The one exception that every expected failure of `serving` raises."""

from conch.contracts.errors import ConchError


class ServingError(ConchError):
    """A failure a user can act on: its text is one line that says what is wrong and, where there is one, the fix."""
