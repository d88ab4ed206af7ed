"""The client for asyncio: names and meanings are those of `clients.client`, and so is all but the waiting."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from clients.address import Address, Protocol, resolve_all
from clients.attending import AsyncAttendant
from clients.calls import Operation, Pause, Send, T
from clients.certificates import Certificates, PathLike
from clients.client import blocking_transport, memory_shared
from clients.credentials import Credentials, Token
from clients.errors import ClientError
from clients.operations import Operations
from clients.pipeline import CONCURRENCY, bar, checked_concurrency, pipelined_async
from clients.retries import ATTEMPTS
from clients.sequence import AsyncSequence
from clients.server_statistics import Counters, ModelVersion
from clients.signature import Classification, Metadata, ModelState
from clients.statistics import Statistics
from clients.step import Step
from clients.transports.transport import AsyncTransport
from clients.trials import takes_part


class AsyncClient:
    """As `Client`, for any number of tasks of one event loop; a forked child or another loop makes one of its own.

    A cancelled task ends its call at once: the connection is not used again, and over gRPC the server is told.
    """

    def __init__(self, operations: Operations, transport: AsyncTransport) -> None:
        self._operations = operations
        self._transport = transport
        self._attendant = AsyncAttendant(self._attend) if operations.trials else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As `Client.close`."""
        self._operations.closed = True
        try:
            if self._attendant is not None and (trials := self._operations.trials):
                await self._attendant.end()
                await self._finish(trials.report())
            with contextlib.suppress(ClientError):
                await self._finish(self._operations.ended())
        finally:
            await self._transport.close()

    @property
    def statistics(self) -> Statistics:
        """As `Client.statistics`."""
        return self._operations.statistics

    async def server(self, timeout: float | None = None) -> tuple[str, str]:
        """As `Client.server`."""
        return await self._run(self._operations.server(timeout))

    async def ready(self, timeout: float | None = None) -> bool:
        """As `Client.ready`."""
        return await self._run(self._operations.ready(timeout))

    async def models(self, timeout: float | None = None) -> list[ModelState]:
        """As `Client.models`."""
        return await self._run(self._operations.models(timeout))

    async def counters(self, timeout: float | None = None) -> dict[ModelVersion, Counters]:
        """As `Client.counters`."""
        return await self._run(self._operations.counters(timeout))

    async def metadata(self, model: str, version: str = "", timeout: float | None = None) -> Metadata:
        """As `Client.metadata`."""
        return await self._run(self._operations.metadata(model, version, timeout))

    async def configuration(self, model: str, version: str = "", timeout: float | None = None) -> dict[str, Any]:
        """How the server runs `model`: Triton's ModelConfig as JSON has it, where gRPC leaves out what is 0."""
        return await self._run(self._operations.configuration(model, version, timeout))

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        version: str = "",
        step: Step | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> dict[str, np.ndarray]:
        """As `Client.infer`."""
        return await self._run(self._operations.infer(model, inputs, outputs, version, step, timeout, repeatable))

    async def classify(
        self,
        model: str,
        inputs: Mapping[str, Any],
        output: str,
        count: int = 5,
        version: str = "",
        step: Step | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> list[list[Classification]]:
        """As `Client.classify`."""
        return await self._run(
            self._operations.classify(model, inputs, output, count, version, step, timeout, repeatable)
        )

    def map(
        self,
        model: str,
        items: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        outputs: Iterable[str] | None = None,
        version: str = "",
        timeout: float | None = None,
        repeatable: bool | None = None,
        *,
        concurrency: int = CONCURRENCY,
        progress: bool = False,
    ) -> AsyncGenerator[dict[str, np.ndarray], None]:
        """As `Client.map`, for an `async for`; `items` may be asynchronous, too, and answers come while it waits.

        A loop that is left early closes the generator at once in a `contextlib.aclosing`, and else a moment later.
        """
        checked_concurrency(concurrency)
        asked = None if outputs is None else [outputs] if isinstance(outputs, str) else list(outputs)

        def call(inputs: Mapping[str, Any]) -> Coroutine[Any, Any, dict[str, np.ndarray]]:
            return self.infer(model, inputs, asked, version, None, timeout, repeatable)

        async def answers() -> AsyncGenerator[dict[str, np.ndarray], None]:
            await self.metadata(model, version, timeout)
            begun = pipelined_async(call, items, concurrency)
            with bar(model, items, progress) as advance:
                async with contextlib.aclosing(begun):
                    async for answer in begun:
                        advance()
                        yield answer

        return answers()

    def sequence(self, model: str, id: int | str | None = None, version: str = "") -> AsyncSequence:
        """As `Client.sequence`, for an `async with`, in which the model is asked about."""
        return AsyncSequence(self, model, id, version)

    async def _run(self, operation: Operation[T]) -> T:
        """As `Client._run`."""
        if self._attendant is not None:
            self._attendant.begin()
        return await self._finish(operation)

    async def _attend(self) -> None:
        if self._operations.trials:
            await self._finish(self._operations.trials.work())

    async def _finish(self, operation: Operation[T]) -> T:
        try:
            wish = next(operation)
            while True:
                try:
                    given = await self._granted(wish)
                except BaseException as error:
                    wish = operation.throw(error)
                else:
                    wish = operation.send(given)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _granted(self, wish: Send | Pause) -> Any:
        if isinstance(wish, Send):
            return await self._transport.send(wish.sendings)
        await asyncio.sleep(wish.seconds)
        return None


def connect_async(
    url: str | SequenceOf[str] | None = None,
    protocol: Protocol | None = None,
    timeout: float = 30.0,
    *,
    repeatable: bool = False,
    attempts: int = ATTEMPTS,
    priority: int = 0,
    headers: Mapping[str, str] | None = None,
    token: Token | None = None,
    api_keys: Mapping[str, str] | None = None,
    plain_text: bool = False,
    ca: PathLike | None = None,
    certificate: PathLike | None = None,
    key: PathLike | None = None,
    shared_memory: bool | Literal["cuda"] = False,
    rollouts: bool | None = None,
) -> AsyncClient:
    """As `connect`, for asyncio: `async with connect_async("localhost:8000") as client`."""
    addresses = resolve_all(url, protocol)
    credentials = Credentials(addresses, headers, token, api_keys, plain_text)
    certificates = Certificates.given(addresses, ca, certificate, key)
    memory = memory_shared(shared_memory, partial(blocking_transport, addresses, certificates), credentials.headers)
    takes = takes_part(rollouts, len(addresses), memory is not None)
    operations = Operations(addresses, timeout, repeatable, attempts, credentials.headers, memory, priority, takes)
    client = AsyncClient(operations, _transport(addresses, certificates))
    if memory is not None:
        memory.go_with(client)
    return client


def _transport(addresses: list[Address], certificates: Certificates) -> AsyncTransport:
    context = certificates.context() if any(address.tls for address in addresses) else None
    # Imported here: each brings its own stack, and a caller needs one of them.
    if addresses[0].protocol == "http":
        from clients.transports.http_asyncio import AsyncHttpTransport

        return AsyncHttpTransport(context)
    from clients.transports.grpc_asyncio import AsyncGrpcTransport

    return AsyncGrpcTransport(certificates)
