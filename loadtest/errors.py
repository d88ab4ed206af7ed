"""What a command cannot do."""

from conch.contracts.errors import ConchError


class CannotRun(ConchError):
    """The load cannot be run; the message is one line and says why."""
