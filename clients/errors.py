"""What can go wrong between a caller and an endpoint; each message is one line that says what to change.

`ClientError` is the base of all. What a server's answer or its silence means has a class of its own, so that a caller
can tell a mistake (`UnknownModel`, `WrongTensor`) from a bad moment (`Overloaded`, `DeadlineExceeded`, `Unreachable`).
"""


class ClientError(Exception):
    """An expected failure. The command line prints its message and exits with 1."""

    not_run: bool = False
    """Whether the server surely did not run the request, so that sending it again repeats nothing."""


class Unreachable(ClientError):
    """No server answers at the address, or the connection to it broke."""

    def __init__(self, message: str, not_run: bool = False) -> None:
        super().__init__(" ".join(message.split()))
        self.not_run = not_run


class DeadlineExceeded(Unreachable):
    """The call's `timeout` is over. Whether the server ran the request is not known."""


class WrongCertificate(Unreachable):
    """Client and server do not trust each other: over TLS one of their certificates is missing, unknown or out of date.

    The request was not sent; nor is it sent again, but to another server.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, not_run=True)


class Refused(ClientError):
    """The server answered with an error.

    `status` is what the protocol calls it ("400", "StatusCode.NOT_FOUND"); `missing` says the model or version is not
    there.
    """

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(" ".join(message.split()))
        self.status = status
        self.missing = status in ("404", "StatusCode.NOT_FOUND")


class Overloaded(Refused):
    """The server has no room for the request now, say its queue is full: it did not run it."""

    not_run = True


class UnknownModel(ClientError):
    """The server has no such model; `known` are the names it lists."""

    def __init__(self, model: str, known: list[str]) -> None:
        listed = ", ".join(known) if known else "none"
        super().__init__(f"the server has no model {model!r}; it has: {listed}")
        self.model, self.known = model, known


class WrongTensor(ClientError):
    """An array whose name, type or shape the model does not take: name, got, allowed."""


class NoSharedMemory(ClientError):
    """Client and server share no memory, or the server lets nobody use it: call without `shared_memory`."""


class WrongKind(ClientError):
    """The model is of another kind than the command needs, say no image goes in."""


class UnreadableInput(ClientError):
    """A file that is missing or is not what it should be."""


class UnwritableOutput(ClientError):
    """A place where the result cannot be written."""
