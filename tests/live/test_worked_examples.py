"""The lecture notes' worked examples, computed by exported graphs in a real Triton.

The notes' numbers are those of https://medium.com/datadriveninvestor/convolution-neural-networks-vs-fully-connected-
neural-networks-8171a6e86f15, whose 6x6 image and 3x3 kernel are used here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from clients import connect
from export.commands.module import main as export_module
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import worked_examples
from tests.support.calls import PROTOCOLS, infer
from tests.support.loads import load_everything

IMAGE = (
    (18, 54, 51, 239, 244, 188),
    (55, 121, 75, 78, 95, 88),
    (35, 24, 204, 113, 109, 221),
    (3, 154, 104, 235, 25, 130),
    (15, 253, 225, 159, 78, 233),
    (68, 85, 180, 214, 245, 0),
)
MAP = ((429, 505, 686, 856), (261, 792, 412, 640), (633, 653, 851, 751), (608, 913, 713, 657))
POOLED = ((792, 856), (913, 851))
CORNER = 139
MAP_WIDTHS = [28, 14, 10, 5]
CHARACTERS = 24
# As the export's of float32: the same sums in another order.
ABSOLUTE, RELATIVE = 1e-5, 1e-4

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def examples(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton of the two modules, exported by command, and of published files with their inside as outputs.

    `cnn_maps` is the published LeNet with its maps as further outputs; `lstm_cell` is the very file of `lstm_stream`,
    served without sequences, so that its states come and go with the requests.
    """
    folder = tmp_path_factory.mktemp("worked")
    models = folder / "models"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        source = worked_examples.__file__
        for words in (
            [f"{source}:Convolution", "--input", "image:float32[batch,6,6]<0,255>", "--name", "convolution",
             "--output", "inside", "--output", "padded"],
            [f"{source}:Pooling", "--input", "map:float32[batch,4,4]<0,1000>", "--name", "pooling",
             "--output", "greatest"],
        ):  # fmt: skip
            assert export_module([*words, "--max-batch", "4"]) == 0
    publish_file(_with_maps(artifacts, folder / "cnn_maps.onnx"), "cnn_maps", models)
    np.savez(folder / "steps.npz", **_first_steps(artifacts))
    publish_file(_published(artifacts, "lstm_stream"), "lstm_cell", models, inputs_from=folder / "steps.npz")
    with Server(models, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


def test_a_load_of_them_finds_every_answer_right(examples: Server) -> None:
    """Modules by command, maps as outputs, and states that come and go with the requests."""
    run = load_everything(examples, examples.repository.parent)
    assert {"convolution", "pooling", "cnn_maps", "lstm_cell"} == {part["model"] for part in run["parts"]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_kernel_over_the_image(examples: Server, protocol: str) -> None:
    answers = infer(examples, protocol, "convolution", {"image": np.array([IMAGE], np.float32)})
    np.testing.assert_array_equal(answers["inside"], [MAP])  # 429 at the first position
    np.testing.assert_array_equal(answers["padded"][0, 1:-1, 1:-1], MAP)
    assert answers["padded"][0, 0, 0] == CORNER


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_max_pooling(examples: Server, protocol: str) -> None:
    answers = infer(examples, protocol, "pooling", {"map": np.array([MAP], np.float32)})
    np.testing.assert_array_equal(answers["greatest"], [POOLED])


def test_lenet_s_maps(examples: Server, artifacts: Path) -> None:
    """Their sizes as the exported graph's own shapes say, and as the server answers them."""
    model = onnx.shape_inference.infer_shapes(onnx.load(_published(artifacts, "cnn")), strict_mode=True)
    shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
              for value in model.graph.value_info}  # fmt: skip
    maps = _maps(model)
    assert [shapes[name][2:] for name in maps] == [[width, width] for width in MAP_WIDTHS]
    answers = infer(examples, "http", "cnn_maps", {"image": np.full((2, 28, 28, 1), 99, np.uint8)})
    widths = [answers[name].shape for name in maps]
    assert widths == [(2, 6, 28, 28), (2, 6, 14, 14), (2, 16, 10, 10), (2, 16, 5, 5)]


def test_the_six_equations_of_the_lstm_cell(examples: Server, artifacts: Path) -> None:
    """Cell and hidden state of both layers after each character, served, against the equations in float64."""
    weights = _weights(artifacts)
    width = weights["network.embedding.weight"].shape[1]
    c, h = np.zeros((2, 2, 1, width))
    served = {"c_in": np.zeros((1, 2, width), np.float32), "h_in": np.zeros((1, 2, width), np.float32)}
    for token in _text(weights):
        x = weights["network.embedding.weight"][[token]]
        for layer in range(2):
            x = h[layer] = step(weights, layer, x, c[layer], h[layer])
        answers = infer(examples, "grpc", "lstm_cell", {"token": np.array([[token]])} | served)
        np.testing.assert_allclose(answers["c_out"][0], c[:, 0], RELATIVE, ABSOLUTE)
        np.testing.assert_allclose(answers["h_out"][0], h[:, 0], RELATIVE, ABSOLUTE)
        np.testing.assert_allclose(answers["probabilities"], softmax(head(weights, x)), RELATIVE, ABSOLUTE)
        served = {"c_in": answers["c_out"], "h_in": answers["h_out"]}


def test_lstm_and_lstm_stream_answer_by_the_equations(triton: Server, artifacts: Path) -> None:
    """The whole text in one request, and a character a request with the states on the server."""
    weights = _weights(artifacts)
    text = _text(weights)
    expected = by_the_equations(weights, text)
    with connect(triton.grpc, "grpc") as client:
        whole = client.infer("lstm", {"tokens": text[np.newaxis]})["probabilities"][0]
        sequence = client.sequence("lstm_stream")
        stream = [
            sequence.infer({"token": np.array([[token]])}, last=place == len(text) - 1)["probabilities"][0]
            for place, token in enumerate(text)
        ]
    np.testing.assert_allclose(whole, expected, RELATIVE, ABSOLUTE)
    np.testing.assert_allclose(stream, expected, RELATIVE, ABSOLUTE)


@pytest.mark.parametrize("order", ["iogf", "figo"])
def test_other_equations_answer_otherwise(artifacts: Path, order: str) -> None:
    """The comparison would see gates in another order: the test above can fail."""
    weights = _weights(artifacts)
    right, wrong = (by_the_equations(weights, _text(weights), gates) for gates in ("ifgo", order))
    assert np.abs(right - wrong).max() > 100 * ABSOLUTE


def step(
    weights: Mapping[str, np.ndarray], layer: int, x: np.ndarray, c: np.ndarray, h: np.ndarray, gates: str = "ifgo"
) -> np.ndarray:
    """The cell's six equations; `c` [batch, width] is renewed in place, the new h [batch, width] is returned.

    Args:
        gates: the order of input, forget, candidate (g) and output in the weights; PyTorch's without.
    """
    name = "network.recurrent.{}_l" + str(layer)
    sums = (
        x @ weights[name.format("weight_ih")].T + weights[name.format("bias_ih")]
        + h @ weights[name.format("weight_hh")].T + weights[name.format("bias_hh")]
    )  # fmt: skip
    part = dict(zip(gates, np.split(sums, 4, axis=1), strict=True))
    forget = sigmoid(part["f"])
    input = sigmoid(part["i"])
    candidate = np.tanh(part["g"])
    c[:] = forget * c + input * candidate
    output = sigmoid(part["o"])
    return output * np.tanh(c)


def by_the_equations(weights: Mapping[str, np.ndarray], text: np.ndarray, gates: str = "ifgo") -> np.ndarray:
    """Probabilities float64 [time, vocabulary] after each prefix of `text` [time]."""
    width = weights["network.embedding.weight"].shape[1]
    c, h = np.zeros((2, 2, 1, width))
    found = []
    for token in text:
        x = weights["network.embedding.weight"][[token]]
        for layer in range(2):
            x = h[layer] = step(weights, layer, x, c[layer], h[layer], gates)
        found.append(softmax(head(weights, x))[0])
    return np.stack(found)


def head(weights: Mapping[str, np.ndarray], h: np.ndarray) -> np.ndarray:
    """Logits of the next character."""
    return h @ weights["network.head.weight"].T + weights["network.head.bias"]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _weights(artifacts: Path) -> Arrays:
    file = artifacts / "checkpoints" / "lstm" / "weights.safetensors"
    return {name: array.astype(np.float64) for name, array in load_file(file).items()}


def _text(weights: Arrays) -> np.ndarray:
    return np.random.default_rng(0).integers(0, len(weights["network.embedding.weight"]), CHARACTERS)


def _published(artifacts: Path, model: str) -> Path:
    return artifacts / "models" / model / "1" / "model.onnx"


def _first_steps(artifacts: Path) -> Arrays:
    """Real inputs of the cell: characters at the beginning of texts."""
    with np.load(_published(artifacts, "lstm_stream").with_name("golden.npz")) as golden:
        return {name: golden[f"inputs/{name}"] for name in ("token", "c_in", "h_in")}


def _maps(model: onnx.ModelProto) -> list[str]:
    """What LeNet's convolutions and poolings give, in the order of the graph."""
    return [node.output[0] for node in model.graph.node if node.op_type in ("Conv", "MaxPool")]


def _with_maps(artifacts: Path, path: Path) -> Path:
    """The published LeNet with its maps as further outputs."""
    model = onnx.shape_inference.infer_shapes(onnx.load(_published(artifacts, "cnn")), strict_mode=True)
    values = {value.name: value for value in model.graph.value_info}
    model.graph.output.extend(values[name] for name in _maps(model))
    onnx.save(model, path)
    return path
