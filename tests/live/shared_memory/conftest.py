"""One real Triton for all tests of shared memory, of which nothing may be left after each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.shared_memory import LARGE, PROTOCOLS, files, regions

SLOW = """
import time
import triton_python_backend_utils as backend

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(1)
        return [
            backend.InferenceResponse([backend.Tensor("y", backend.get_input_tensor_by_name(request, "x").as_numpy())])
            for request in requests
        ]
"""
SLOW_CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "y" data_type: TYPE_FP32 dims: [4] }
"""


@pytest.fixture(scope="package")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared_memory")
    wide = f"wide (float[batch, {LARGE}] x) => (float[batch, {LARGE}] y) {{ y = Neg(x) }}"
    models = {"affine": graphs.AFFINE, "identities": graphs.IDENTITIES, "lengths": graphs.LENGTHS, "wide": wide}
    for name, graph in models.items():
        publish_file(graphs.write(graph, folder / f"{name}.onnx"), name, folder / "models")
    slow = folder / "models" / "slow"
    (slow / "1").mkdir(parents=True)
    (slow / "1" / "model.py").write_text(SLOW)
    (slow / "config.pbtxt").write_text(SLOW_CONFIG)
    return folder / "models"


@pytest.fixture(scope="package")
def small(repository: Path) -> Path:
    """A repository whose server is soon there."""
    folder = repository.parent / "small"
    folder.mkdir()
    (folder / "affine").symlink_to(repository / "affine")
    return folder


@pytest.fixture(scope="package")
def server(repository: Path) -> Iterator[Server]:
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(params=PROTOCOLS)
def url(request: pytest.FixtureRequest, server: Server) -> str:
    return f"{request.param}://{getattr(server, request.param)}"


@pytest.fixture(autouse=True)
def _nothing_left(server: Server) -> Iterator[None]:
    yield
    assert files() == set()
    assert regions(server) == set()
