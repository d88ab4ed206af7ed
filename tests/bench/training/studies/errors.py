"""The one error of the studies."""

from conch.contracts.errors import ConchError


class StudyError(ConchError):
    """A study that cannot be made or shown, and what to do; shown without a traceback."""
