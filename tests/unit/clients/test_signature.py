from typing import Any

import numpy as np
import pytest

from clients.batches import batch_of
from clients.documents import parse_index, parse_metadata
from clients.errors import WrongKind, WrongTensor
from clients.signature import Metadata

# As gRPC's JSON gives it: 64-bit integers are strings.
METADATA: dict[str, Any] = {
    "name": "cnn",
    "versions": ["1", "2"],
    "platform": "onnxruntime_onnx",
    "inputs": [
        {"name": "image", "datatype": "UINT8", "shape": ["-1", "28", "28", "1"]},
        {"name": "mask", "datatype": "BOOL", "shape": ["-1", "1"]},
    ],
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "10"]}],
}
CONFIG = {
    "max_batch_size": 8,
    "input": [{"name": "image"}, {"name": "mask", "optional": True}],
    "instance_group": [{"kind": "KIND_GPU", "count": 2, "gpus": [0, 1]}, {"kind": "KIND_CPU", "count": 1}, {}],
}


@pytest.fixture
def metadata() -> Metadata:
    return parse_metadata(METADATA, CONFIG)


def test_instances_are_told_in_words(metadata: Metadata) -> None:
    assert metadata.instances == ("2 on GPU 0 1", "1 on CPU", "1 on AUTO")


def test_right_inputs_pass(metadata: Metadata) -> None:
    assert batch_of(metadata, {"image": np.zeros((8, 28, 28, 1), np.uint8)}).size == 8


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (
            {"image": np.zeros((2, 28, 28, 1))},
            r"'image' got FP64 \[2, 28, 28, 1\], allowed is UINT8 \[batch, 28, 28, 1\]",
        ),
        ({"image": np.zeros((28, 1), np.uint8)}, r"got UINT8 \[28, 1\], allowed .*, for one item \[28, 28, 1\]"),
        ({"image": np.zeros((28, 29, 1), np.uint8)}, r"got UINT8 \[28, 29, 1\], allowed"),
        ({"image": np.zeros((1, 32, 28, 1), np.uint8)}, r"got UINT8 \[1, 32, 28, 1\]"),
        (
            {"image": np.zeros((2, 28, 28, 1), np.uint8), "mask": np.zeros((3, 1), bool)},
            "as many items each, they have: image 2, mask 3",
        ),
        ({"picture": np.zeros((1, 28, 28, 1), np.uint8)}, r"no input 'picture', allowed are: image UINT8"),
        ({"mask": np.zeros((1, 1), bool)}, r"input 'image' is missing, needed is UINT8"),
    ],
)
def test_wrong_input_names_tensor_got_and_allowed(
    metadata: Metadata, inputs: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(WrongTensor, match=words):
        batch_of(metadata, inputs)


def test_wrong_output_lists_the_right_ones(metadata: Metadata) -> None:
    with pytest.raises(WrongTensor, match="no output 'logits', allowed are: probabilities"):
        metadata.check_outputs(["logits"])


def test_parameters_are_those_of_the_configuration() -> None:
    parameters = {"picture_fit": {"string_value": "crop"}, "empty": {}}
    assert parse_metadata(METADATA, CONFIG | {"parameters": parameters}).parameters == {
        "picture_fit": "crop",
        "empty": "",
    }
    assert parse_metadata(METADATA, CONFIG).parameters == {}


@pytest.mark.parametrize("dtype", ["BYTES", "BOOL", "FP16", "BF16"])
def test_outputs_without_classes_are_refused(dtype: str) -> None:
    """A request for the classes of BYTES ends the server."""
    outputs = [{"name": "words", "datatype": dtype, "shape": ["-1", "3"]}, *METADATA["outputs"]]
    metadata = parse_metadata(METADATA | {"outputs": outputs}, CONFIG)
    metadata.check_classes("probabilities")
    says = rf"cnn: output 'words' is {dtype} \[batch, 3\], which has no classes; .*: probabilities FP32 \[batch, 10\]"
    with pytest.raises(WrongKind, match=says):
        metadata.check_classes("words")
    with pytest.raises(WrongTensor, match="no output 'logits'"):
        metadata.check_classes("logits")


def test_model_never_loaded_is_listed_as_not_ready() -> None:
    (entry,) = parse_index([{"name": "cnn", "reason": "broken"}])
    assert (entry.state, entry.reason, entry.version) == ("UNAVAILABLE", "broken", "")
