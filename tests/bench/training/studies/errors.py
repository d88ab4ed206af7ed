"""The one error of the studies."""


class StudyError(Exception):
    """A study that cannot be made or shown, and what to do; shown without a traceback."""
