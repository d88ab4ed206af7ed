"""What a command cannot do, and what becomes of a request."""

from conch.contracts.errors import ConchError


class CannotRun(ConchError):
    """The load cannot be run; the message is one line and says why."""


class RequestFailed(Exception):
    """No answer, for the reason given in one line."""


class RequestRefused(RequestFailed):
    """The server has no room for the request: a full queue, or too long a wait in it. It did not run it."""
