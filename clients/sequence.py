"""Requests to a model that keeps a state on the server: in order, each after the answer to the one before."""

import contextlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from clients.errors import ClientError

if TYPE_CHECKING:
    from clients.client import Classification, Client


@dataclass(frozen=True)
class Step:
    """A request's place in its sequence; `id`, a number or a text, is Triton's correlation id."""

    id: int | str
    start: bool
    end: bool


class Sequence:
    """One sequence of requests, made by `Client.sequence`. Its first request begins with a fresh state.

    ```python
    with client.sequence("lstm_stream") as sequence:
        for token in tokens:
            probabilities = sequence.infer({"token": np.array([[token]])})["probabilities"]
    ```

    The server forgets the state with the last request, or when none has come for a while; then it refuses further ones.
    Until then the sequence has a place of the server's, and a server that is stopped waits for it. So a `with` block
    that is left before the last request sends the inputs of the one before again, as the last.
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
        self._latest: Mapping[str, np.ndarray] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A first request that was refused has a place at the server, too.
        if self._latest and not self._ended:
            with contextlib.suppress(ClientError):  # a server that is gone keeps nothing
                self.infer(self._latest, last=True)

    def infer(
        self, inputs: Mapping[str, np.ndarray], outputs: Iterable[str] | None = None, last: bool = False
    ) -> dict[str, np.ndarray]:
        """As `Client.infer`, for the next request of the sequence, a batch of one; `last` ends it."""
        self._latest = inputs
        answer = self._client.infer(self._model, inputs, outputs, self._version, self._step(last))
        self._begun = True
        return answer

    def classify(
        self, inputs: Mapping[str, np.ndarray], output: str, count: int = 5, last: bool = False
    ) -> "list[Classification]":
        """As `Client.classify`, for the next request of the sequence; the classes of its one item."""
        self._latest = inputs
        answers = self._client.classify(self._model, inputs, output, count, self._version, self._step(last))
        self._begun = True
        return answers[0]

    def _step(self, last: bool) -> Step:
        if self._ended:
            raise ClientError(f"sequence {self.id} of {self._model} has ended; begin another")
        self._ended = last
        return Step(self.id, start=not self._begun, end=last)
