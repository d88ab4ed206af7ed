"""The one error of the headline runner."""


class HeadlineError(Exception):
    """A run that cannot be made or judged, and what to do; shown without a traceback."""
