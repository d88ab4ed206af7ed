"""What a command cannot do."""


class CannotRun(Exception):
    """The load cannot be run; the message is one line and says why."""
