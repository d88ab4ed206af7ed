"""What a command's exit code says, by the kind of error."""

from clients.errors import (
    ClientError,
    DeadlineExceeded,
    Overloaded,
    Refused,
    UnknownModel,
    Unreachable,
    WrongTensor,
)

FAILED = 1
STOPPED = 130


class BadCommand(ClientError):
    """Words that make no command: nothing was sent."""


CODES: dict[type[ClientError], int] = {
    BadCommand: 2,  # as of what tyro cannot read
    Unreachable: 3,
    UnknownModel: 4,
    WrongTensor: 5,
    Refused: 6,
    Overloaded: 7,
    DeadlineExceeded: 8,
}
"""The code of each class, which its subclasses have unless they have one of their own."""


def exit_code(error: ClientError) -> int:
    """The code of the nearest class of `error` that has one, else FAILED."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), FAILED)
