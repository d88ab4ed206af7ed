"""Requests to a model that keeps a state on the server: in order, each after the answer to the one before."""

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from clients.errors import ClientError, WrongKind, WrongTensor
from clients.step import Step

if TYPE_CHECKING:
    from clients.client import Classification, Client


NOT_SENT = (WrongTensor, WrongKind)
"""What the client itself refuses, before anything is sent."""


class Sequence:
    """One sequence of requests, made by `Client.sequence`. Its first request begins with a fresh state.

    ```python
    with client.sequence("lstm_stream") as sequence:
        for token in tokens:
            probabilities = sequence.infer({"token": np.array([[token]])})["probabilities"]
    ```

    The server forgets the state with the last request, or when none has come for a while; then it refuses further ones.
    Until then the sequence has a place of the server's, and a server that is stopped waits for it. So a `with` block
    that is left before the last request, or whose last request was refused, sends inputs that the server took before
    once more, as the last.
    """

    def __init__(self, client: "Client", model: str, id: int | str | None = None, version: str = "") -> None:
        if id is not None and (not id or (isinstance(id, int) and not 0 < id < 2**63)):
            raise ClientError(f"a sequence's id is a text or a number from 1 to 2^63 - 1, got {id!r}")
        # Nobody coordinates the clients of a server: a number that no other will have.
        self.id: int | str = secrets.randbelow(2**63 - 1) + 1 if id is None else id
        self._client = client
        self._model = model
        self._version = version
        self._begun = self._ended = False
        # What the server took last, or was asked first: an end is sent with inputs that reach the model.
        self._sendable: Mapping[str, np.ndarray] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sendable and not self._ended:
            with contextlib.suppress(ClientError):  # a server that is gone keeps nothing
                self.infer(self._sendable, last=True)

    def infer(
        self, inputs: Mapping[str, np.ndarray], outputs: Iterable[str] | None = None, last: bool = False
    ) -> dict[str, np.ndarray]:
        """As `Client.infer`, for the next request of the sequence, a batch of one; `last` ends it.

        A request that is refused is none of the sequence: what was to be the last has to be sent again.
        """
        with self._request(inputs, last) as step:
            return self._client.infer(self._model, inputs, outputs, self._version, step)

    def classify(
        self, inputs: Mapping[str, np.ndarray], output: str, count: int = 5, last: bool = False
    ) -> "list[Classification]":
        """As `Client.classify`, for the next request of the sequence; the classes of its one item."""
        with self._request(inputs, last) as step:
            return self._client.classify(self._model, inputs, output, count, self._version, step)[0]

    @contextlib.contextmanager
    def _request(self, inputs: Mapping[str, np.ndarray], last: bool) -> Iterator[Step]:
        """The place of the request within the block; what the block leaves is kept."""
        if self._ended:
            raise ClientError(f"sequence {self.id} of {self._model} has ended; begin another")
        try:
            yield Step(self.id, start=not self._begun, end=last)
        except NOT_SENT:
            raise
        except BaseException:
            # Sent, or interrupted meanwhile: a first request has a place at the server whatever came of it.
            self._sendable = self._sendable or dict(inputs)
            raise
        self._begun, self._ended, self._sendable = True, last, dict(inputs)
