"""Requests to a model that keeps a state on the server: in order, each after the answer to the one before."""

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from clients.errors import ClientError, WrongKind, WrongTensor
from clients.signature import Classification
from clients.step import Step


class Caller(Protocol):
    """What a sequence needs of its client."""

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        version: str = "",
        step: Step | None = None,
    ) -> dict[str, np.ndarray]: ...

    def classify(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        output: str,
        count: int = 5,
        version: str = "",
        step: Step | None = None,
    ) -> list[list[Classification]]: ...


class Sequence:
    """One sequence of requests, made by `Client.sequence`. Its first request begins with a fresh state.

    ```python
    with client.sequence("lstm_stream") as sequence:
        for token in tokens:
            probabilities = sequence.infer({"token": np.array([[token]])})["probabilities"]
    ```

    The server forgets the state with the last request, or when none has come for a while; then it refuses further ones.
    Until then the sequence has a place of the server's, and a server that is stopped waits for it. So a `with` block
    that is left before the last request was answered, for whatever reason, sends inputs that the server took before
    again, as the last.
    """

    def __init__(self, client: Caller, model: str, id: int | str | None = None, version: str = "") -> None:
        if id is not None and (not id or (isinstance(id, int) and not 0 < id < 2**63)):
            raise ClientError(f"a sequence's id is a text or a number from 1 to 2^63 - 1, got {id!r}")
        # Nobody coordinates the clients of a server: a number that no other will have.
        self.id: int | str = secrets.randbelow(2**63 - 1) + 1 if id is None else id
        self._client = client
        self._model = model
        self._version = version
        self._begun = self._ended = False
        self._sent: dict[str, np.ndarray] = {}
        """Inputs of the last request that was answered; before there is one, of one that was refused or broken off."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A first request that was refused has a place at the server, too.
        if self._sent and not self._ended:
            # A server that is gone keeps nothing; and what went wrong in the block is the error to be told.
            with contextlib.suppress(Exception):
                self.infer(self._sent, last=True)

    def infer(
        self, inputs: Mapping[str, np.ndarray], outputs: Iterable[str] | None = None, last: bool = False
    ) -> dict[str, np.ndarray]:
        """As `Client.infer`, for the next request of the sequence, a batch of one; `last` ends it."""
        with self._request(inputs, last) as step:
            return self._client.infer(self._model, inputs, outputs, self._version, step)

    def classify(
        self, inputs: Mapping[str, np.ndarray], output: str, count: int = 5, last: bool = False
    ) -> list[Classification]:
        """As `Client.classify`, for the next request of the sequence; the classes of its one item."""
        with self._request(inputs, last) as step:
            return self._client.classify(self._model, inputs, output, count, self._version, step)[0]

    @contextlib.contextmanager
    def _request(self, inputs: Mapping[str, np.ndarray], last: bool) -> Iterator[Step]:
        """The next request's place; what becomes of the request decides how the sequence is ended."""
        if self._ended:
            raise ClientError(f"sequence {self.id} of {self._model} has ended; begin another")
        try:
            yield Step(self.id, start=not self._begun, end=last)
        except (WrongTensor, WrongKind):  # by the client itself: nothing was sent
            raise
        except BaseException:
            if not self._begun:
                self._sent = dict(inputs)
            raise
        self._sent = dict(inputs)  # the caller may put other tensors into its own
        self._begun, self._ended = True, last
