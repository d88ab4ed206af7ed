"""What `serving status` reads from a server's metrics."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from serving.kserve.endpoint import ModelState
from serving.kserve.placement import placements, shown

TEXT = """# HELP conch_execution_provider What each model instance runs on
# TYPE conch_execution_provider gauge
conch_execution_provider{asked="CUDAExecutionProvider",instance="a_0",model="a",provider="CUDAExecutionProvider",version="1"} 1
conch_execution_provider{asked="TensorrtExecutionProvider",instance="b_0",model="b",provider="TensorrtExecutionProvider",version="2"} 1
conch_execution_provider{asked="TensorrtExecutionProvider",instance="b_1",model="b",provider="CUDAExecutionProvider",version="2"} 1
nv_inference_count{model="a",version="1"} 7
"""  # noqa: E501


class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TEXT.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_each_model_s_instances_are_told(address: str) -> None:
    found = placements(address)
    assert found is not None
    rows = {name: shown(ModelState(name, version, "READY", ""), found) for name, version in [*found, ("c", "1")]}
    assert rows == {"a": "CUDA", "b": "TensorRT; [yellow]CUDA, asked for TensorRT[/]", "c": "?"}


def test_nobody_there_is_no_error() -> None:
    assert placements("127.0.0.1:9", timeout=0) is None
