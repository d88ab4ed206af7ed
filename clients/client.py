"""The library: one client, two protocols."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import numpy as np

from clients.address import Protocol, resolve
from clients.errors import ClientError, Refused, UnknownModel, WrongKind
from clients.sequence import Sequence
from clients.signature import Classification, Metadata, ModelState
from clients.step import Step
from clients.strings import encoded
from clients.transport import Transport

MOST_CLASSES = 2**31 - 1  # Triton takes a larger number for another one


class Client:
    """Calls to one server, made by `connect`; close it, or use it in a `with`.

    Over HTTP it belongs to the thread that made it: one `connect` per thread (refused otherwise). Over gRPC threads may
    share one. A forked child may go on with its parent's, which connects anew there; a fork waits for the gRPC calls
    under way.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._metadata: dict[tuple[str, str], Metadata] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; further calls fail."""
        self._transport.close()

    def server(self) -> tuple[str, str]:
        """The server's name and version. Raises Unreachable."""
        return self._transport.server()

    def ready(self) -> bool:
        """Whether the server takes requests for all its models. Raises Unreachable when nobody answers."""
        return self._transport.ready()

    def models(self) -> list[ModelState]:
        """Every model version the server lists, sorted by name. Raises Unreachable."""
        return sorted(self._transport.index(), key=lambda entry: (entry.name, entry.version))

    def metadata(self, model: str, version: str = "") -> Metadata:
        """Names, types and shapes of `model`; asked once and kept, until the server refuses a request for it.

        Raises UnknownModel with those the server has, Refused when it is there but not ready, Unreachable.
        """
        if (model, version) not in self._metadata:
            try:
                self._metadata[model, version] = self._transport.metadata(model, version)
            except Refused as refusal:
                raise self._why_refused(model, version, refusal) from refusal
        return self._metadata[model, version]

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        version: str = "",
        step: Step | None = None,
    ) -> dict[str, np.ndarray]:
        """The model's outputs by name (all, or those named), with the batch as first axis as in the inputs.

        Text (BYTES) goes in as any array of str or bytes, and comes out as an array of `bytes` objects, UTF-8 where the
        model is an ONNX file.

        A model that keeps a state is called through `sequence`, which gives each request its `step`.

        Types and shapes are checked against the server's metadata before anything is sent: WrongTensor names the
        tensor, what it got and what is allowed. Raises also UnknownModel, Refused and Unreachable.
        """
        metadata = self.metadata(model, version)
        names = [spec.name for spec in metadata.outputs] if outputs is None else list(outputs)
        return self._send(metadata, version, inputs, dict.fromkeys(names, 0), step)

    def classify(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        output: str,
        count: int = 5,
        version: str = "",
        step: Step | None = None,
    ) -> list[list[Classification]]:
        """For each item of the batch the `count` highest values of `output`, with their labels, highest first.

        Server and not client attaches the labels (Triton's classification extension). More axes than one are taken as
        flattened, and only the first row of them has labels. An output with axes of any size is asked for twice, first
        whether it is empty. Raises as `infer` does, and WrongKind for a `count` below 1 or an output without classes.
        """
        if not 1 <= count <= MOST_CLASSES:
            raise WrongKind(f"{count} classes asked for, allowed are 1 to {MOST_CLASSES}")
        metadata = self.metadata(model, version)
        if metadata.check_classes(output).open_axes:
            # Over HTTP Triton 2.51 dies of the classes of an output that turns out to be empty.
            if metadata.stateful:
                raise WrongKind(
                    f"{model}: output {output!r} has axes of any size, and a server may die of the classes of an empty "
                    "one: ask for its values, with infer"
                )
            values = self._send(metadata, version, inputs, {output: 0}, step)[output]
            if values.size == 0:
                return [[] for _ in range(len(values) if metadata.max_batch_size else 1)]
        answers = self._send(metadata, version, inputs, {output: count}, step)[output]
        return [[_parse(entry) for entry in row] for row in np.atleast_2d(answers)]

    def sequence(self, model: str, id: int | str | None = None, version: str = "") -> Sequence:
        """Begin a sequence of requests to a `model` that keeps a state on the server.

        `id` tells it from the server's other sequences; without, a number nobody else has. Raises as `metadata` does,
        and WrongKind when the model keeps no state.
        """
        if not self.metadata(model, version).stateful:
            raise WrongKind(f"{model} keeps no state on the server; call it with infer")
        return Sequence(self, model, id, version)

    def _send(
        self,
        metadata: Metadata,
        version: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, int],
        step: Step | None,
    ) -> dict[str, np.ndarray]:
        inputs = {name: encoded(array, f"{metadata.name}: input {name!r}") for name, array in inputs.items()}
        metadata.check_inputs(inputs)
        metadata.check_outputs(list(outputs))
        if step is None and metadata.stateful:
            raise WrongKind(f"{metadata.name} keeps a state on the server: call it through Client.sequence")
        try:
            return self._transport.infer(metadata.name, version, inputs, outputs, step)
        except Refused as refusal:
            # The model may have been replaced by one with other tensors since it was asked about.
            self._metadata.pop((metadata.name, version), None)
            raise self._why_refused(metadata.name, version, refusal) from refusal

    def _why_refused(self, model: str, version: str, refusal: Refused) -> ClientError:
        """A better reason than the server's, where its list of models gives one."""
        if not refusal.missing:
            return refusal
        try:
            listed = self.models()
        except ClientError:
            return refusal
        own = [entry for entry in listed if entry.name == model]
        if not own:
            return UnknownModel(model, sorted({entry.name for entry in listed}))
        ready = [entry.version for entry in own if entry.state == "READY"]
        if ready and version:
            return Refused(f"{model} has no version {version!r} that is ready; it has: {', '.join(ready)}", "404")
        reasons = "; ".join(entry.reason for entry in own if entry.reason) or own[0].state
        return Refused(f"{model} is on the server but not ready: {reasons}", "404")


def connect(url: str | None = None, protocol: Protocol | None = None, timeout: float = 30.0) -> Client:
    """A client of the server at `url`; nothing is sent before the first call.

    `url` is "host:port", "http://host:port" or "grpc://host:port"; without it CONCH_HTTP or CONCH_GRPC of the
    environment, or else localhost:8000 or localhost:8001. `timeout` is seconds to wait for any one answer.

    Raises ClientError for an address that is none, or a timeout that is.
    """
    address = resolve(url, protocol)
    if timeout <= 0:
        raise ClientError(f"a timeout of {timeout:g} s leaves no time to answer")
    # Imported here: each brings its own stack (gevent; grpc), and a caller needs one of them.
    if address.protocol == "http":
        from clients.http import HttpTransport

        return Client(HttpTransport(address, timeout))
    from clients.grpc import GrpcTransport

    return Client(GrpcTransport(address, timeout))


def _parse(entry: bytes) -> Classification:
    """b"0.98:7:seven", where the label may be missing or hold colons of its own."""
    value, index, *label = entry.decode(errors="replace").split(":", 2)  # a label file may be of any encoding
    return Classification(int(index), label[0] if label else "", float(value))
