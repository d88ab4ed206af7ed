"""The library: one client, two protocols; `clients.async_client` is the same for asyncio."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from clients.address import Address, Protocol, resolve_all
from clients.attending import Attendant
from clients.calls import Operation, T
from clients.certificates import Certificates, PathLike
from clients.credentials import Credentials, Token
from clients.errors import ClientError
from clients.operations import Operations
from clients.pipeline import CONCURRENCY, bar, checked_concurrency, finished, pipelined
from clients.retries import ATTEMPTS
from clients.sequence import Sequence
from clients.server_statistics import Counters, ModelVersion
from clients.signature import Classification, Metadata, ModelState
from clients.statistics import Observer, Statistics
from clients.step import Step
from clients.transports.transport import Transport
from clients.trials import takes_part

if TYPE_CHECKING:
    from clients.shared_memory.memory import SharedMemory


class Client:
    """Calls to one server or several, made by `connect`; close it, or use it in a `with`.

    Threads may share it, and greenlets. A forked child may go on with its parent's, which connects anew there; over
    gRPC a fork waits for the calls under way.

    Every call takes a `timeout` in seconds for all of it, whatever the server does; without, that of `connect`. All
    raise DeadlineExceeded when it is over, Unreachable when no server answers, Overloaded when it has no room, and
    ClientError after `close`.
    """

    def __init__(self, operations: Operations, transport: Transport) -> None:
        self._operations = operations
        self._transport = transport
        self._attendant = Attendant(self._attend) if operations.trials else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back, and the shared memory; further calls fail."""
        self._operations.closed = True
        try:
            if self._attendant is not None and (trials := self._operations.trials):
                trials.closed = True
                self._attendant.end()
                self._finish(trials.report())
            with contextlib.suppress(ClientError):
                self._finish(self._operations.ended())
        finally:
            self._transport.close()

    @property
    def statistics(self) -> Statistics:
        """What this client did so far: calls, retries, failovers, times."""
        return self._operations.statistics

    def observe(self, observer: Observer) -> None:
        """Have `observer` told of every call from now on, in the thread that makes it."""
        self._operations.observers.append(observer)

    def server(self, timeout: float | None = None) -> tuple[str, str]:
        """The server's name and version, as ("triton", "2.51.0")."""
        return self._run(self._operations.server(timeout))

    def ready(self, timeout: float | None = None) -> bool:
        """Whether the server takes requests for all its models."""
        return self._run(self._operations.ready(timeout))

    def models(self, timeout: float | None = None) -> list[ModelState]:
        """Every model version the server lists, sorted by name."""
        return self._run(self._operations.models(timeout))

    def counters(self, timeout: float | None = None) -> dict[ModelVersion, Counters]:
        """What the server has counted of every version that is loaded, by (model, version)."""
        return self._run(self._operations.counters(timeout))

    def metadata(self, model: str, version: str = "", timeout: float | None = None) -> Metadata:
        """Names, types and shapes of `model`; asked once and kept, until the server says that it has changed.

        Raises UnknownModel with those the server has, and Refused when it is there but not ready.
        """
        return self._run(self._operations.metadata(model, version, timeout))

    def configuration(self, model: str, version: str = "", timeout: float | None = None) -> dict[str, Any]:
        """How the server runs `model`: Triton's ModelConfig as JSON has it, where gRPC leaves out what is 0.

        Raises UnknownModel and Refused as `metadata` does.
        """
        return self._run(self._operations.configuration(model, version, timeout))

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        version: str = "",
        step: Step | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> dict[str, np.ndarray]:
        """The model's outputs by name (all, or those named), as arrays that are not to be written into.

        Inputs are a batch, as the first axis of each, and so are the outputs; or one item without that axis, and then
        the outputs have none. More items than the server takes at once are sent in parts. Arrays have the model's type,
        in any layout and byte order; lists and numbers become it where that loses nothing. Text (BYTES) goes in as str
        or bytes, in lists or arrays of any of NumPy's kinds, and comes out as an array of `bytes` objects, UTF-8 where
        the model is an ONNX file.

        A model that keeps a state is called through `sequence`, which gives each request its `step`. A `repeatable`
        request is sent again when the connection breaks before the answer is whole; others only where the server surely
        did not run them.

        Raises WrongTensor before anything is sent for what the model does not take: tensor, got, allowed. Raises also
        UnknownModel and Refused.
        """
        return self._run(self._operations.infer(model, inputs, outputs, version, step, timeout, repeatable))

    def classify(
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
        """For each item of the batch the `count` highest values of `output`, with their labels, highest first.

        Server and not client attaches the labels (Triton's classification extension). More axes than one are taken as
        flattened, and only the first row of them has labels. An output with axes of any size is asked for twice, first
        whether it is empty. Raises as `infer` does, and WrongKind for a `count` below 1 or an output without classes.
        """
        return self._run(self._operations.classify(model, inputs, output, count, version, step, timeout, repeatable))

    def map(
        self,
        model: str,
        items: Iterable[Mapping[str, Any]],
        outputs: Iterable[str] | None = None,
        version: str = "",
        timeout: float | None = None,
        repeatable: bool | None = None,
        *,
        concurrency: int = CONCURRENCY,
        progress: bool = False,
    ) -> Generator[dict[str, np.ndarray], None, None]:
        """The answers to a stream of requests, in its order: `infer` of each of `items`, of which `concurrency` are
        under way at once. No more of them, and of the answers, are in memory.

        Each has `timeout` to itself; what the caller does between two answers, and `items` to give the next, is no part
        of it. Raises as `infer` does, after the answers before; what is under way then, or when the generator is
        closed, is broken off. `progress` shows a bar on a terminal's standard error, with the share of `items` that
        have a length.
        """
        checked_concurrency(concurrency)
        asked = None if outputs is None else [outputs] if isinstance(outputs, str) else list(outputs)
        operations = (
            self._operations.infer(model, inputs, asked, version, None, timeout, repeatable) for inputs in items
        )

        def answers() -> Generator[dict[str, np.ndarray], None, None]:
            self.metadata(model, version, timeout)  # once, and not by each of the first
            begun = pipelined(self._transport, operations, concurrency)
            with contextlib.closing(begun), bar(model, items, progress) as advance:
                for answer in begun:
                    advance()
                    yield answer

        return answers()

    def sequence(self, model: str, id: int | str | None = None, version: str = "") -> Sequence:
        """Begin a sequence of requests to a `model` that keeps a state on the server.

        `id` tells it from the server's other sequences; without, a number nobody else has. Raises as `metadata` does,
        and WrongKind when the model keeps no state.
        """
        self.metadata(model, version).check_stateful()
        return Sequence(self, model, id, version)

    def _run(self, operation: Operation[T]) -> T:
        """Do what an operation wishes until it has its result."""
        if self._attendant is not None:
            self._attendant.begin()
        return self._finish(operation)

    def _finish(self, operation: Operation[T]) -> T:
        return finished(self._transport, operation, partial(next, operation))

    def _attend(self) -> None:
        if self._operations.trials:
            self._finish(self._operations.trials.work())


def connect(
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
) -> Client:
    """A client of the server at `url`, or of several that serve the same models; nothing is sent before the first call.

    `url` is "host:port", "http://host:port" or "grpc://host:port", with TLS "https://host:port" or "grpcs://host:port";
    without it CONCH_HTTP or CONCH_GRPC of the environment, or else localhost:8000 or localhost:8001. Of several, each
    call goes to the next one, and one that does not answer is left alone for a while.

    `timeout` is seconds for a whole call; Triton 2.51 itself does not survive gRPC deadlines of some milliseconds. A
    request is sent at most `attempts` times, again only where the server surely did not run it; `repeatable` declares
    that all may run twice. `headers` go with every request. `priority` is the level of all requests, 1 the first to be
    run, to models that have levels; 0 leaves it to the model.

    With TLS, `ca` is a file of the authorities to trust, without one those that this machine trusts; `certificate` and
    `key` are shown to a server that asks for them. All are in PEM; without them CONCH_CA, CONCH_CERTIFICATE, CONCH_KEY.

    `token` goes with every request as "Authorization: Bearer ..."; a `pathlib.Path` is that of a file with the token,
    read again when it has changed. Without, CONCH_TOKEN or CONCH_TOKEN_FILE. `api_keys` open APIs that Triton
    restricts, by the names it was started with; without, CONCH_API_KEYS. Neither is sent to another machine as plain
    text, unless `plain_text` says that the network is safe.

    With `shared_memory` tensors are not sent: client and server read and write them in the same memory, and answers of
    64 KiB and more are views of it. In the message, as without, come texts, classes and outputs with an axis of any
    size but the batch, for nobody knows before how large they will be. The server has to be on this machine, which is
    NoSharedMemory's to tell at the first call. `"cuda"` takes the memory of the first GPU.

    With `rollouts` the client takes part in `conch rollout --canary` and `--shadow` on its server: a share of its
    requests goes to the version on trial, and it reports on them; what that version refuses, it asks of the live one.
    Without, where CONCH_ROLLOUTS is 1.

    Raises ClientError for what cannot be used: an address, a timeout, a file, a token.
    """
    addresses = resolve_all(url, protocol)
    credentials = Credentials(addresses, headers, token, api_keys, plain_text)
    connected = partial(blocking_transport, addresses, Certificates.given(addresses, ca, certificate, key))
    memory = memory_shared(shared_memory, connected, credentials.headers)
    takes = takes_part(rollouts, len(addresses), memory is not None)
    operations = Operations(addresses, timeout, repeatable, attempts, credentials.headers, memory, priority, takes)
    client = Client(operations, connected())
    if memory is not None:
        memory.go_with(client)
    return client


def memory_shared(
    asked: bool | Literal["cuda"], connected: Callable[[], Transport], headers: Callable[[], Mapping[str, str]]
) -> "SharedMemory | None":
    """What `shared_memory` of `connect` asks for; `connected` makes a transport to clear up with."""
    if asked is False:
        return None
    from clients.shared_memory.memory import SharedMemory

    return SharedMemory.asked(asked, connected, headers)


def blocking_transport(addresses: list[Address], certificates: Certificates) -> Transport:
    context = certificates.context() if any(address.tls for address in addresses) else None
    # Imported here: each brings its own stack, and a caller needs one of them.
    if addresses[0].protocol == "http":
        from clients.transports.http_blocking import HttpTransport

        return HttpTransport(context)
    from clients.transports.grpc_blocking import GrpcTransport

    return GrpcTransport(certificates)
