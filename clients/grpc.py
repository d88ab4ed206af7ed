"""KServe v2 over gRPC, on tritonclient.grpc."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from clients.address import Address, channel_options
from clients.errors import Refused, Unreachable
from clients.forking import Calls
from clients.signature import Metadata, ModelState
from clients.step import Step
from clients.transport import Transport, parse_index, parse_metadata, request_tensors, sequence_options

# gRPC allows 4 MiB a message unless told; a batch of pictures is soon past that. -1 is without bound: what is sent is
# the caller's own, and the server has a bound of its own. Channels of one process share connections unless told; in a
# forked child that would be the parent's.
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]

# Triton, too, answers UNAVAILABLE (a full queue, say); only these words come from the channel itself.
_CHANNEL_FAILURES = ("failed to connect", "errors resolving", "DNS resolution", "Socket closed", "Connection reset")

_CALLS = Calls()


class GrpcTransport(Transport):
    """One channel; its methods may be called from several threads at once. A forked child gets one of its own."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        with _CALLS.call():
            self._connect()

    def _connect(self) -> None:
        options = [*CHANNEL, *channel_options(self._address.target)]
        self._client = InferenceServerClient(self._address.target, channel_args=options)
        self._process = os.getpid()

    def server(self) -> tuple[str, str]:
        with self._speaking():
            answer = self._client.get_server_metadata(client_timeout=self._timeout)
            return answer.name, answer.version

    def ready(self) -> bool:
        with self._speaking():
            return bool(self._client.is_server_ready(client_timeout=self._timeout))

    def index(self) -> list[ModelState]:
        with self._speaking():
            answer = self._client.get_model_repository_index(as_json=True, client_timeout=self._timeout)
            return parse_index(answer.get("models", []))

    def metadata(self, model: str, version: str) -> Metadata:
        with self._speaking():
            metadata = self._client.get_model_metadata(model, version, as_json=True, client_timeout=self._timeout)
            config = self._client.get_model_config(model, version, as_json=True, client_timeout=self._timeout)
            return parse_metadata(metadata, config["config"])

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, int],
        step: Step | None = None,
    ) -> dict[str, np.ndarray]:
        tensors, asked = request_tensors(InferInput, InferRequestedOutput, inputs, outputs)
        with self._speaking():
            answer = self._client.infer(
                model, tensors, version, asked, client_timeout=self._timeout, **sequence_options(step)
            )
            return {name: answer.as_numpy(name) for name in outputs}

    def close(self) -> None:
        with _CALLS.call():
            self._client.close()

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turns what the layers below raise into one of our errors."""
        try:
            with _CALLS.call():
                if os.getpid() != self._process:
                    self._connect()
                yield
        except InferenceServerException as error:
            status, message = error.status() or "", error.message() or "the server refused without a reason"
            if status == "StatusCode.DEADLINE_EXCEEDED":
                raise Unreachable(f"no answer from {self._address} within {self._timeout:g} s") from error
            if status == "StatusCode.UNAVAILABLE" and any(words in message for words in _CHANNEL_FAILURES):
                reason = " ".join(message.split()).rsplit(": ", 1)[-1]
                raise Unreachable(f"no server at {self._address} ({reason})") from error
            if status == "StatusCode.UNIMPLEMENTED":
                raise Unreachable(f"what answers at {self._address} does not speak KServe v2 over gRPC") from error
            raise Refused(message, status) from error
