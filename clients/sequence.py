"""Requests to a model that keeps a state on the server: in order, each after the answer to the one before."""

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clients.errors import ClientError, WrongKind, WrongTensor
from clients.signature import Classification
from clients.step import Route, Step

if TYPE_CHECKING:
    from clients.async_client import AsyncClient
    from clients.client import Client

END_S = 5.0
"""The request that ends a sequence whose block was left is given so long; whoever left it is in a hurry."""


class Places:
    """What a sequence is, but for the waiting: the place of each request, and whether its end is still to be sent."""

    def __init__(self, model: str, id: int | str | None = None, version: str = "") -> None:
        if id is not None and (not id or (isinstance(id, int) and not 0 < id < 2**63)):
            raise ClientError(f"a sequence's id is a text or a number from 1 to 2^63 - 1, got {id!r}")
        # Nobody coordinates the clients of a server: a number that no other will have.
        self.id: int | str = secrets.randbelow(2**63 - 1) + 1 if id is None else id
        self._model = model
        self._version = version
        self._route = Route()
        self._begun = self._ended = False
        self._sent: dict[str, Any] = {}
        """Inputs of the last request that was answered; before there is one, of one that was refused or broken off."""

    @property
    def _open(self) -> bool:
        """Whether it has a place at the server; so has a first request that was refused."""
        return bool(self._sent) and not self._ended

    @contextlib.contextmanager
    def _request(self, inputs: Mapping[str, Any], last: bool) -> Iterator[Step]:
        """The next request's place; what becomes of the request decides how the sequence is ended."""
        if self._ended:
            raise ClientError(f"sequence {self.id} of {self._model} has ended; begin another")
        try:
            yield Step(self.id, start=not self._begun, end=last, route=self._route)
        except (WrongTensor, WrongKind):  # by the client itself: nothing was sent
            raise
        except BaseException:
            if not self._begun:
                self._sent = dict(inputs)
            raise
        self._sent = dict(inputs)  # the caller may put other tensors into its own
        self._begun, self._ended = True, last


class Sequence(Places):
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

    All its requests go to one server and to the version of the model that answered the first, whatever goes live
    meanwhile; none but the first is ever sent again.
    """

    def __init__(self, client: "Client", model: str, id: int | str | None = None, version: str = "") -> None:
        super().__init__(model, id, version)
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            # A server that is gone keeps nothing; and what went wrong in the block is the error to be told.
            with contextlib.suppress(Exception):
                self.infer(self._sent, last=True, timeout=END_S)

    def infer(
        self,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        last: bool = False,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Client.infer`, for the next request of the sequence, of one item or a batch of one; `last` ends it."""
        with self._request(inputs, last) as step:
            return self._client.infer(self._model, inputs, outputs, self._version, step, timeout)

    def classify(
        self,
        inputs: Mapping[str, Any],
        output: str,
        count: int = 5,
        last: bool = False,
        timeout: float | None = None,
    ) -> list[Classification]:
        """As `Client.classify`, for the next request of the sequence; the classes of its one item."""
        with self._request(inputs, last) as step:
            return self._client.classify(self._model, inputs, output, count, self._version, step, timeout)[0]


class AsyncSequence(Places):
    """As `Sequence`, for asyncio; a task that is cancelled within the block still ends it."""

    def __init__(self, client: "AsyncClient", model: str, id: int | str | None = None, version: str = "") -> None:
        super().__init__(model, id, version)
        self._client = client

    async def __aenter__(self) -> Self:
        (await self._client.metadata(self._model, self._version)).check_stateful()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            ending = asyncio.ensure_future(self.infer(self._sent, last=True, timeout=END_S))
            with contextlib.suppress(Exception):
                await asyncio.shield(ending)

    async def infer(
        self,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        last: bool = False,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Sequence.infer`."""
        with self._request(inputs, last) as step:
            return await self._client.infer(self._model, inputs, outputs, self._version, step, timeout)

    async def classify(
        self,
        inputs: Mapping[str, Any],
        output: str,
        count: int = 5,
        last: bool = False,
        timeout: float | None = None,
    ) -> list[Classification]:
        """As `Sequence.classify`."""
        with self._request(inputs, last) as step:
            return (await self._client.classify(self._model, inputs, output, count, self._version, step, timeout))[0]
