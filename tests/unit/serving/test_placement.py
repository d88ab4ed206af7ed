"""What `serving status` reads from a server's metrics."""

from collections.abc import Iterator

import pytest

from serving.kserve.endpoint import ModelState
from serving.kserve.placement import placements, shown
from tests.support.http_servers import Answering, answering

TEXT = """# HELP conch_execution_provider What each model instance runs on
# TYPE conch_execution_provider gauge
conch_execution_provider{asked="CUDAExecutionProvider",instance="a_0",model="a",provider="CUDAExecutionProvider",version="1"} 1
conch_execution_provider{asked="TensorrtExecutionProvider",instance="b_0",model="b",provider="TensorrtExecutionProvider",version="2"} 1
conch_execution_provider{asked="TensorrtExecutionProvider",instance="b_1",model="b",provider="CUDAExecutionProvider",version="2"} 1
nv_inference_count{model="a",version="1"} 7
"""  # noqa: E501


class Metrics(Answering):
    def do_GET(self) -> None:
        self.answer(TEXT.encode())


@pytest.fixture
def address() -> Iterator[str]:
    with answering(Metrics) as port:
        yield f"127.0.0.1:{port}"


def test_each_model_s_instances_are_told(address: str) -> None:
    found = placements(address)
    assert found is not None
    rows = {name: shown(ModelState(name, version, "READY", ""), found) for name, version in [*found, ("c", "1")]}
    assert rows == {"a": "CUDA", "b": "TensorRT; [yellow]CUDA, asked for TensorRT[/]", "c": "?"}


def test_nobody_there_is_no_error() -> None:
    assert placements("127.0.0.1:9", timeout=0) is None
