"""The onnxruntime backend under a real Triton answers what ONNX Runtime answers, and a bad request hurts no other."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tritonclient.utils import InferenceServerException

from serving.kserve.endpoint import ControlClient
from serving.server.server import Server
from tests.support import graphs
from tests.support.calls import PROTOCOLS, infer

Sessions = Mapping[str, onnxruntime.InferenceSession]

MAKE: dict[str, Callable[[np.random.Generator, int], dict[str, np.ndarray]]] = {
    "affine": lambda draw, batch: {"x": draw.standard_normal((batch, 4), np.float32)},
    "classify": lambda draw, batch: {"image": draw.integers(0, 256, (batch, 4, 4, 1), np.uint8)},
    "lengths": lambda draw, batch: {"tokens": draw.integers(0, 99, (batch, 1 + batch * 3), np.int64)},
    "unbatched": lambda draw, n: {"x": draw.standard_normal((2, 3), np.float32), "factor": np.array([n], np.float32)},
}
"""Model -> random inputs of a batch size."""


def expected(session: onnxruntime.InferenceSession, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime in this process answers, by output."""
    feeds = {
        tensor.name: inputs[tensor.name].reshape(() if not tensor.shape else inputs[tensor.name].shape)
        for tensor in session.get_inputs()
    }
    answers = session.run(None, feeds)
    # Triton has no empty shape: a number, or a number an item, is in an axis of its own.
    return {
        output.name: array if len(output.shape) > 1 else array.reshape(*array.shape, 1)
        for output, array in zip(session.get_outputs(), answers, strict=True)
    }


def statistics(server: Server, model: str) -> dict[str, Any]:
    """Triton's own counters of a model."""
    with ControlClient(server.http) as client:
        return client.statistics(model, "1")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", MAKE)
def test_concurrent_batches_of_mixed_size_get_their_own_answers(
    triton: Server, sessions: Sessions, model: str, protocol: str
) -> None:
    draw = np.random.default_rng(0)
    requests = [MAKE[model](draw, int(batch)) for batch in draw.integers(1, 9, 48)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda inputs: infer(triton, protocol, model, inputs), requests))
    for inputs, answer in zip(requests, answers, strict=True):
        wanted = expected(sessions[model], inputs)
        assert answer.keys() == wanted.keys()
        for name, array in wanted.items():
            assert answer[name].dtype == array.dtype
            np.testing.assert_allclose(answer[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("wanted", [["total"], ["doubled"], ["total", "doubled"]])
def test_only_the_requested_outputs_are_returned(triton: Server, protocol: str, wanted: list[str]) -> None:
    answer = infer(triton, protocol, "affine", {"x": np.ones((2, 4), np.float32)}, wanted)
    assert sorted(answer) == sorted(wanted)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_type_goes_through(triton: Server, protocol: str) -> None:
    values: dict[str, Any] = {
        kind: np.array([[0, 1], [1, 100]]).astype("float32" if kind == "float" else kind)
        for kind in graphs.TYPES
        if kind != "string"
    }
    values["string"] = np.array([[b"a\0b", "Käse".encode()], [b"", "\U0010ffff".encode()]], dtype=object)
    answer = infer(triton, protocol, "identities", {f"in_{kind}": array for kind, array in values.items()})
    for kind, array in values.items():
        assert answer[f"out_{kind}"].dtype == array.dtype
        assert answer[f"out_{kind}"].tolist() == array.tolist(), kind


def test_the_label_file_names_the_classes(triton: Server) -> None:
    import tritonclient.grpc as api

    image = np.zeros((1, 4, 4, 1), np.uint8)
    tensor = api.InferInput("image", image.shape, "UINT8")
    tensor.set_data_from_numpy(image)
    with api.InferenceServerClient(triton.grpc) as client:
        asked = [api.InferRequestedOutput("probabilities", class_count=3)]
        found = client.infer("classify", [tensor], outputs=asked).as_numpy("probabilities")
    assert sorted(entry.decode().split(":")[2] for entry in found[0]) == ["bird", "cat", "dog"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_that_breaks_the_graph_fails_alone(triton: Server, protocol: str) -> None:
    """Four good requests and one with an index outside the table, batched into one run."""
    before = statistics(triton, "pick")
    indices = [3, 4, 99, 5, -1]
    with ThreadPoolExecutor(len(indices)) as pool:
        futures = [
            pool.submit(infer, triton, protocol, "pick", {"index": np.array([[index]], np.int64)}) for index in indices
        ]
    values = [None if future.exception() else float(future.result()["value"][0, 0]) for future in futures]
    assert values == [30, 40, None, 50, 90]
    message = str(futures[2].exception())
    assert "model 'pick', request with 'index' [1, 1]" in message
    assert "idx=99" in message
    after = statistics(triton, "pick")
    assert after["execution_count"] - before["execution_count"] == 1, "they were batched"


ONES = np.ones((1, 4), np.float32)

BAD_REQUESTS: dict[str, tuple[str, dict[str, np.ndarray], list[str] | None, str]] = {
    "shape": ("affine", {"x": np.ones((1, 5), np.float32)}, None, r"shape for input 'x'.* \[-1,4\], got \[1,5\]"),
    "type": ("affine", {"x": np.ones((1, 4))}, None, "input 'x' data-type is 'FP64', but model 'affine'"),
    "batch": ("affine", {"x": np.ones((9, 4), np.float32)}, None, "batch-size must be <= 8 for 'affine'"),
    "empty": ("affine", {"x": np.ones((0, 4), np.float32)}, None, "input byte size mismatch for input 'x'"),
    "output": ("affine", {"x": ONES}, ["none"], "unexpected inference output 'none' for model 'affine'"),
    "input": ("affine", {"y": ONES}, None, "unexpected inference input 'y' for model 'affine'"),
    "model": ("nothing", {"x": ONES}, None, "unknown model: 'nothing'"),
    "missing": ("identities", {"in_bool": np.ones((1, 2), bool)}, None, "expected 13 inputs but got 1 inputs"),
    "rows": (
        "dropping",
        {"x": np.eye(4, dtype=np.float32) - 0.5},
        None,
        r"output 'y' has shape \[0, 4\] for a batch of 4",
    ),
}
"""What is wrong with it -> model, inputs, outputs and what the answer says."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("wrong", BAD_REQUESTS)
def test_a_bad_request_is_answered_with_its_reason(triton: Server, protocol: str, wrong: str) -> None:
    model, inputs, outputs, message = BAD_REQUESTS[wrong]
    with pytest.raises(InferenceServerException, match=message):
        infer(triton, protocol, model, inputs, outputs)
    triton.check_alive()
    assert infer(triton, protocol, "affine", {"x": ONES})["doubled"].tolist() == [[2, 2, 2, 2]]


def test_text_that_is_no_utf8_is_refused(triton: Server) -> None:
    inputs: dict[str, Any] = {
        f"in_{kind}": np.zeros((1, 2), "float32" if kind == "float" else kind)
        for kind in graphs.TYPES
        if kind != "string"
    }
    inputs["in_string"] = np.array([[b"\xff", b"ok"]], dtype=object)
    with pytest.raises(InferenceServerException, match=r"model 'identities'.*can't decode byte 0xff"):
        infer(triton, "grpc", "identities", inputs)
