"""The onnxruntime backend under a real Triton honours each configuration key that NVIDIA's C++ backend honours.

The tables are in backend_models.py; what can be seen without a server is in tests/unit/serving.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser
from tritonclient.utils import InferenceServerException

from serving.kserve.endpoint import ControlClient, model_states
from serving.server import processes
from serving.server.server import Server
from tests.support import graphs
from tests.support.backend_models import AFFINE_CONFIG, ONES, OUTSIDE, REFUSED, SERVED
from tests.support.calls import PROTOCOLS, infer


def lay_out(repository: Path, name: str, graph: str, config: str | None, file: str = "model.onnx") -> None:
    """A model's folder, with `graph` as version 1; no graph gives a file that is none."""
    onnx_file = repository / name / "1" / file
    onnx_file.parent.mkdir(parents=True)
    if graph:
        model = parser.parse_model(graphs.HEADER + graph)
        onnx.save(model, onnx_file, save_as_external_data=graph == OUTSIDE, size_threshold=0, location="weights.bin")
    else:
        onnx_file.write_bytes(b"no ONNX")
    if config is not None:
        one = "" if "instance_group" in config else "instance_group { count: 1 }\n"
        (repository / name / "config.pbtxt").write_text(f'backend: "onnxruntime"\n{one}{config}\n')
    (repository / name / "labels.txt").write_text("cat\ndog\nbird\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton that serves all of `SERVED`."""
    repository = tmp_path_factory.mktemp("served") / "models"
    for name, served in SERVED.items():
        lay_out(repository, name, served.graph, served.config, served.file)
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The load error of each model of `REFUSED`, and of no other, by name, of one Triton that has them all."""
    repository = tmp_path_factory.mktemp("refused") / "models"
    for name, refused in REFUSED.items():
        lay_out(repository, name, refused.graph, refused.config)
    lay_out(repository, "good", graphs.AFFINE, AFFINE_CONFIG)
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, exit_on_error=False) as server:
        # In the backend's own words: what `serve` says of them is lint's.
        return {state.name: state.reason for state in model_states(server.http) if not state.ready}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", SERVED)
def test_it_is_served_as_configured(server: Server, model: str, protocol: str) -> None:
    served = SERVED[model]
    answer = infer(server, protocol, model, served.inputs)
    assert answer.keys() >= served.outputs.keys()
    for name, array in served.outputs.items():
        assert answer[name].dtype == array.dtype
        assert answer[name].shape == array.shape
        if array.dtype == object:
            assert answer[name].tolist() == array.tolist()
        else:
            np.testing.assert_allclose(answer[name], array, rtol=1e-6)


@pytest.mark.parametrize("model", REFUSED)
def test_it_is_refused_with_the_reason(failures: dict[str, str], model: str) -> None:
    assert re.search(REFUSED[model].message, failures[model])


def test_a_refused_model_takes_no_other_with_it(failures: dict[str, str]) -> None:
    assert failures.keys() == REFUSED.keys()


def config_of(server: Server, model: str) -> dict[str, Any]:
    """A model's configuration as the server has completed it."""
    with ControlClient(server.http) as client:
        return client.config(model, "1")


def test_without_a_configuration_it_is_batched_by_four_on_two_instances(server: Server) -> None:
    found = config_of(server, "no_config")
    assert (found["backend"], found["max_batch_size"]) == ("onnxruntime", 4)
    assert "dynamic_batching" in found
    assert [(group["kind"], group["count"]) for group in found["instance_group"]] == [("KIND_CPU", 2)]
    with pytest.raises(InferenceServerException, match="batch-size must be <= 4"):
        infer(server, "http", "no_config", {"x": np.ones((5, 4), np.float32)})


def test_what_is_configured_is_not_completed(server: Server) -> None:
    assert [output["name"] for output in config_of(server, "partial_config")["output"]] == ["total"]
    assert config_of(server, "no_batch_axis")["max_batch_size"] == 0
    assert "dynamic_batching" not in config_of(server, "no_batch_axis")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_classes_come_with_their_labels(server: Server, protocol: str) -> None:
    import tritonclient.grpc
    import tritonclient.http

    api: Any = tritonclient.http if protocol == "http" else tritonclient.grpc
    image = np.zeros((1, 4, 4, 1), np.uint8)
    tensor = api.InferInput("image", image.shape, "UINT8")
    tensor.set_data_from_numpy(image)
    with api.InferenceServerClient(server.http if protocol == "http" else server.grpc) as client:
        asked = [api.InferRequestedOutput("probabilities", class_count=3)]
        found = client.infer("labelled", [tensor], outputs=asked).as_numpy("probabilities")
    assert sorted(entry.decode().split(":")[2] for entry in found[0]) == ["bird", "cat", "dog"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_optional_input_may_be_left_out(server: Server, protocol: str) -> None:
    without = infer(server, protocol, "optional", {"x": ONES[:, :2]})
    assert without["y"].tolist() == [[2, 3], [2, 3]]


def test_requests_with_and_without_an_optional_input_are_answered_apart(server: Server) -> None:
    without = {"x": ONES[:1, :2]}
    requests = [without, without | {"w": np.array([[5, 7]], np.float32)}, without]
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda inputs: infer(server, "grpc", "optional_batched", inputs), requests))
    assert [answer["y"].tolist() for answer in answers] == [[[2, 3]], [[5, 7]], [[2, 3]]]


def test_ragged_requests_share_a_run_and_get_their_own_part(server: Server) -> None:
    requests = [np.arange(length, dtype=np.float32)[None] for length in (2, 4, 1)]
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda x: infer(server, "grpc", "ragged", {"x": x}), requests))
    for x, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["negated"], -x)
        for name in ("count", "same_count", "shape", "flat_shape"):
            assert answer[name].tolist() == [[x.size]], name
    assert {answer["most"].item() for answer in answers} == {4}, "they shared a run"
    assert sorted(answer["end"].item() for answer in answers)[-1] == 7


def threads(server: Server, model: str) -> int:
    """How many threads the process of a model's one instance has."""
    (found,) = [
        len(list(Path(f"/proc/{pid}/task").iterdir()))
        for pid in processes.members(server.pid)
        if f"/{model}/1/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found


def test_the_thread_count_reaches_the_instances_process(server: Server) -> None:
    """A session of nine threads has eight of its own beside the one that runs it, a session of one has none."""
    assert threads(server, "threads_9") == threads(server, "threads_1") + 8
