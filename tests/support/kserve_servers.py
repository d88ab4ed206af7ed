"""A small server of KServe v2 over both protocols, which counts what it runs and answers as late as a test wants."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from tests.support.http_servers import Answering, answering

if TYPE_CHECKING:
    from tests.support.authority import Identity

TENSORS: dict[str, Any] = {
    "name": "double",
    "versions": ["1"],
    "platform": "test",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "doubled", "datatype": "FP32", "shape": [-1, 4]}],
}
CONFIG: dict[str, Any] = {"name": "double", "max_batch_size": 4}


class Double:
    """The one model, `double`: twice its input, FP32 [batch, 4] of at most four items."""

    def __init__(self) -> None:
        self.runs = self.cancelled = 0
        self.seconds = 0.0
        self.more_seconds = 0.0  # for an input below zero
        self.full = 0  # so many requests find the queue full
        self.broken = False
        self.sequences: list[tuple[bool, bool]] = []
        self.headers: dict[str, str] = {}
        self.tensors, self.config = dict(TENSORS), dict(CONFIG)
        self._lock = threading.Lock()

    def admit(self) -> bool:
        """Whether there is room in the queue."""
        with self._lock:
            self.full -= 1
            return self.full < 0

    def run(self, raw: bytes) -> bytes:
        with self._lock:
            self.runs += 1
        x = np.frombuffer(raw, np.float32)
        time.sleep(self.seconds + self.more_seconds * bool(x[0] < 0))
        return bytes((x * 2).tobytes())


@contextlib.contextmanager
def serving_double(protocol: str, identity: "Identity | None" = None) -> Iterator[tuple[int, Double]]:
    """Its port, and the model; over TLS where it has an `identity`."""
    model = Double()
    with _http(model, identity) if protocol == "http" else _grpc(model, identity) as port:
        yield port, model


@contextlib.contextmanager
def _http(model: Double, identity: "Identity | None") -> Iterator[int]:
    class Handler(Answering):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/v2/health/ready":
                self.answer(b"")
            elif self.path == "/v2":
                self.answer(b'{"name":"test","version":"1"}')
            elif "/models/double" not in self.path:
                self.answer(b'{"error":"unknown model"}', 404)
            else:
                self.answer(json.dumps(model.config if self.path.endswith("/config") else model.tensors).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(length := int(self.headers["Content-Length"]))
            if len(body) < length:  # the caller is gone
                return
            if self.path == "/v2/repository/index":
                self.answer(b'[{"name":"double","version":"1","state":"READY"}]')
                return
            model.headers = {name.lower(): value for name, value in self.headers.items()}
            if not model.admit():
                self.answer(b'{"error":"Exceeds maximum queue size"}', 503)
                return
            size = int(self.headers["Inference-Header-Content-Length"])
            asked = json.loads(body[:size])
            if "sequence_id" in (parameters := asked["parameters"]):
                model.sequences.append((parameters["sequence_start"], parameters["sequence_end"]))
            raw = model.run(body[size:])
            shape = asked["inputs"][0]["shape"]
            output = {"name": "doubled", "datatype": "FP32", "shape": shape}
            output["parameters"] = {"binary_data_size": len(raw)}
            head = json.dumps({"model_name": "double", "model_version": "1", "outputs": [output]}).encode()
            with contextlib.suppress(OSError):  # the caller may be gone
                self.send_response(200)
                self.send_header("Content-Length", str(len(head) + len(raw)))
                self.send_header("Inference-Header-Content-Length", str(len(head)))
                self.end_headers()
                self.wfile.write(head + raw)

    with answering(Handler, identity.context() if identity else None) as port:
        yield port


@contextlib.contextmanager
def _grpc(model: Double, identity: "Identity | None") -> Iterator[int]:
    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ServerReady(self, request: Any, context: Any) -> Any:
            return service_pb2.ServerReadyResponse(ready=True)

        def ServerMetadata(self, request: Any, context: Any) -> Any:
            return service_pb2.ServerMetadataResponse(name="test", version="1")

        def RepositoryIndex(self, request: Any, context: Any) -> Any:
            answer = service_pb2.RepositoryIndexResponse()
            answer.models.add(name="double", version="1", state="READY")
            return answer

        def ModelMetadata(self, request: Any, context: Any) -> Any:
            if request.name != "double":
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
            return ParseDict(model.tensors, service_pb2.ModelMetadataResponse())

        def ModelConfig(self, request: Any, context: Any) -> Any:
            if request.name != "double":
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
            config = ParseDict(model.config, model_config_pb2.ModelConfig())
            return service_pb2.ModelConfigResponse(config=config)

        def ModelInfer(self, request: Any, context: Any) -> Any:
            model.headers = dict(context.invocation_metadata())
            if not model.admit():
                context.abort(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
            if "sequence_id" in request.parameters:
                parameters = request.parameters
                model.sequences.append((parameters["sequence_start"].bool_param, parameters["sequence_end"].bool_param))
            raw = model.run(request.raw_input_contents[0])
            model.cancelled += not context.is_active()
            answer = service_pb2.ModelInferResponse(model_name="double", model_version="1")
            answer.outputs.add(name="doubled", datatype="FP32", shape=request.inputs[0].shape)
            answer.raw_output_contents.append(raw)
            return answer

    server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    place = "127.0.0.1:0"
    port = server.add_secure_port(place, identity.grpc()) if identity else server.add_insecure_port(place)
    server.start()
    yield port
    server.stop(0).wait()
