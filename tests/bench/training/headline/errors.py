"""The one error of the headline runner."""

from conch.contracts.errors import ConchError


class HeadlineError(ConchError):
    """A run that cannot be made or judged, and what to do; shown without a traceback."""
