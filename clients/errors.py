"""What can go wrong between a caller and an endpoint; each message is one line that says what to change."""


class ClientError(Exception):
    """An expected failure. The command line prints its message and exits with 1."""


class Unreachable(ClientError):
    """No server answers at the address, or not in time."""


class Refused(ClientError):
    """The server answered with an error.

    `status` is what the protocol calls it ("400", "StatusCode.NOT_FOUND"); `missing` says the model or version is not
    there.
    """

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(" ".join(message.split()))
        self.status = status
        self.missing = status in ("404", "StatusCode.NOT_FOUND")


class UnknownModel(ClientError):
    """The server has no such model; `known` are the names it lists."""

    def __init__(self, model: str, known: list[str]) -> None:
        listed = ", ".join(known) if known else "none"
        super().__init__(f"the server has no model {model!r}; it has: {listed}")
        self.model, self.known = model, known


class WrongTensor(ClientError):
    """An array whose name, type or shape the model does not take: name, got, allowed."""


class WrongKind(ClientError):
    """The model is of another kind than the command needs, say no image goes in."""


class UnreadableInput(ClientError):
    """A file that is missing or is not what it should be."""


class UnwritableOutput(ClientError):
    """A place where the result cannot be written."""
