"""A model for each thing that a page of models shows, made in a moment: weights by hand, or of a fit of a second."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser
from sklearn.neural_network import MLPClassifier

from clients.preparation import Preparation
from conch.contracts.golden import golden_arrays
from serving.repository.foreign import publish_file
from serving.repository.publish import publish
from tests.support.graphs import HEADER
from training.data.images import digits

ALPHABET = " abcdefghijklmnopqrstuvwxyzT\n"
SIDE = 28

DIGITS = """
digits (uint8[batch, 28, 28, 1] image) => (float[batch, 10] probabilities)
{ pixels = Cast<to = 1>(image) rows = Reshape(pixels, flat) shares = Div(rows, white)
  first = Gemm(shares, w1, b1) hidden = Relu(first) logits = Gemm(hidden, w2, b2)
  probabilities = Softmax<axis = -1>(logits) }
"""
DENOISER = """
denoiser (uint8[batch, 28, 28, 1] image) => (uint8[batch, 28, 28, 1] clean, float[batch] error)
{ pixels = Cast<to = 1>(image) planes = Reshape(pixels, as_planes)
  smooth = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [1, 1]>(planes)
  rounded = Round(smooth) bytes = Cast<to = 2>(rounded) clean = Reshape(bytes, as_image)
  apart = Sub(planes, smooth) far = Abs(apart) error = ReduceMean<keepdims = 0>(far, axes) }
"""
GENERATOR = """
generator (float[batch, 8] latent) => (uint8[batch, 16, 16, 1] picture)
{ logits = MatMul(latent, weight) shares = Sigmoid(logits) grey = Mul(shares, white) rounded = Round(grey)
  bytes = Cast<to = 2>(rounded) picture = Reshape(bytes, as_image) }
"""
BRIGHTER = """
brighter (uint8[batch, 16, 16, 1] image) => (uint8[batch, 16, 16, 1] picture, float[batch] mean)
{ pixels = Cast<to = 1>(image) more = Add(pixels, light) picture = Cast<to = 2>(more)
  mean = ReduceMean<keepdims = 0>(more, axes) }
"""
LETTERS = """
letters (int64[batch, time] tokens) => (float[batch, time, 29] probabilities) { probabilities = Gather(table, tokens) }
"""
LETTERS_STREAM = """
letters_stream (int64[batch, 1] token, float[batch, 1] n_in) => (float[batch, 29] probabilities, float[batch, 1] n_out)
{ rows = Gather(table, token) probabilities = Squeeze(rows, second) n_out = Add(n_in, one) }
"""
FINDER = """
finder (uint8[batch, 24, 32, 3] image) => (float[batch, 2, 4] boxes, float[batch, 2] scores, int64[batch, 2] classes,
    int64[batch, 24, 32] mask)
{ pixels = Cast<to = 1>(image) grey = ReduceMean<keepdims = 0>(pixels, channel) bright = Greater(grey, half)
  mask = Cast<to = 7>(bright) whole = ReduceMean<keepdims = 1>(grey, sides) rows = Squeeze(whole, sides)
  column = Reshape(rows, as_column) nothing = Mul(column, zero) both = Concat<axis = 1>(nothing, nothing)
  scores = Add(both, certain) boxed = Unsqueeze(both, last) boxes = Add(boxed, corners)
  numbers = Cast<to = 7>(both) classes = Add(numbers, kinds) }
"""
STRANGER = "stranger (float[n, 4] features) => (float[n, 3] scores, int64[n, 1] best) " + (
    "{ scores = MatMul(features, weight) best = ArgMax<axis = 1>(scores) }"
)
COLOURS = (
    "colours (float[n, 3, 16, 16] pixels) => (float[n, 3] means) { means = ReduceMean<keepdims = 0>(pixels, sides) }"
)
TWICE = "twice (string[n, 1] text) => (string[n, 1] said) { said = StringConcat(text, text) }"
FAR = "far (float[n, 40] x) => (float[n, 40] y) { y = Neg(x) }"
HALF = "half (float16[n, 3] x) => (float16[n, 3] y) { y = Neg(x) }"


def publish_page_models(repository: Path) -> None:
    """All of them, into this repository."""
    repository.mkdir(parents=True, exist_ok=True)
    data = digits()
    chosen = [int(np.flatnonzero(data.held_out_labels == label)[0]) for label in range(8)]
    images = data.held_out[chosen]
    weights = _fitted(data)
    classes = {"probabilities": tuple(data.labels)}
    for name, kind in (("digits", np.float32), ("digits_half", np.float16)):
        rounded = weights | {key: weights[key].astype(kind).astype(np.float32) for key in ("w1", "b1", "w2", "b2")}
        _publish(repository, name, DIGITS.replace("digits", name, 1), {"image": images}, rounded, classes)
    noise = np.random.default_rng(0).integers(-60, 60, images.shape)
    noisy = (images + noise).clip(0, 255).astype(np.uint8)
    shapes = {"as_planes": np.array([-1, 1, SIDE, SIDE]), "as_image": np.array([-1, SIDE, SIDE, 1])}
    _publish(repository, "denoiser", DENOISER, {"image": noisy}, shapes | {"axes": np.array([1, 2, 3])})
    draw = np.random.default_rng(1)
    weight = draw.standard_normal((8, 256)).astype(np.float32)
    more = {"weight": weight, "white": np.float32(255), "as_image": np.array([-1, 16, 16, 1])}
    _publish(repository, "generator", GENERATOR, {"latent": draw.standard_normal((4, 8)).astype(np.float32)}, more)
    dark = draw.integers(0, 100, (2, 16, 16, 1)).astype(np.uint8)
    for light in (10, 30):  # two versions
        constants = {"light": np.float32(light), "axes": np.array([1, 2, 3])}
        _publish(repository, "brighter", BRIGHTER, {"image": dark}, constants)
    publish_letters(repository)
    pixels = draw.integers(0, 255, (2, 24, 32, 3)).astype(np.uint8)
    pixels[:, 6:18, 8:20] = 230
    classes = {"classes": ("cat", "dog"), "mask": ("ground", "something bright")}
    _publish(repository, "finder", FINDER, {"image": pixels}, FOUND, class_labels=classes)
    publish_strangers(repository)


def publish_strangers(repository: Path) -> None:
    """Files that came from anywhere, into this repository; they lie in `foreign` beside it."""
    foreign = repository.parent / "foreign"
    foreign.mkdir(parents=True, exist_ok=True)
    weight = np.eye(4, 3, dtype=np.float32)
    for name, graph, constants in (
        ("stranger", STRANGER, {"weight": weight}),
        ("colours", COLOURS, {"sides": np.array([2, 3])}),
        ("twice", TWICE, {}),
        ("far", FAR, {}),
        ("half", HALF, {}),
    ):
        publish_file(_write(graph, foreign / f"{name}.onnx", constants), name, repository)


FOUND: Mapping[str, Any] = {
    "channel": np.array([3]),
    "half": np.float32(200),
    "sides": np.array([1, 2]),
    "as_column": np.array([-1, 1]),
    "zero": np.float32(0),
    "certain": np.array([0.9, 0.6], np.float32),
    "last": np.array([2]),
    "corners": np.array([[8, 6, 20, 18], [1, 1, 6, 5]], np.float32),
    "kinds": np.array([1, 0]),
}


def _fitted(data: Any) -> dict[str, np.ndarray]:
    """A perceptron of digits that were moved about, as drawn ones are."""
    draw = np.random.default_rng(0)
    images, labels = [], []
    for _ in range(3):
        for image, label in zip(data.train[::2], data.train_labels[::2], strict=True):
            images.append(np.roll(image[..., 0], draw.integers(-2, 3, 2), (0, 1)).ravel())
            labels.append(label)
    fit = MLPClassifier((64,), max_iter=12, random_state=0, learning_rate_init=3e-3)
    with warnings.catch_warnings(action="ignore"):  # it is good enough before it has converged
        fit.fit(np.array(images) / 255, labels)
    return {
        "flat": np.array([-1, SIDE * SIDE]),
        "white": np.float32(255),
        "w1": fit.coefs_[0].astype(np.float32),
        "b1": fit.intercepts_[0].astype(np.float32),
        "w2": fit.coefs_[1].astype(np.float32),
        "b2": fit.intercepts_[1].astype(np.float32),
    }


def publish_letters(repository: Path) -> None:
    """A model of characters, and one that keeps a state."""
    count = len(ALPHABET)
    table = np.full((count, count), 0.2 / (count - 1), np.float32)
    for n, follower in enumerate([*range(1, count), 0]):
        table[n, follower] = 0.8
    labels = {"probabilities": tuple("\\n" if letter == "\n" else letter for letter in ALPHABET)}
    tokens = np.array([[1, 2, 3, 4]])
    _publish(repository, "letters", LETTERS, {"tokens": tokens}, {"table": table}, labels)
    _publish(
        repository,
        "letters_stream",
        LETTERS_STREAM,
        {"token": np.array([[1]]), "n_in": np.zeros((1, 1), np.float32)},
        {"table": table, "second": np.array([1]), "one": np.float32(1)},
        labels,
        states=(("n_in", "n_out"),),
    )


def _publish(
    repository: Path,
    name: str,
    graph: str,
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, Any],
    labels: Mapping[str, Sequence[str]] | None = None,
    states: Sequence[tuple[str, str]] = (),
    class_labels: Mapping[str, Sequence[str]] | None = None,
) -> None:
    file = _write(graph, repository.parent / f"{name}.onnx", constants)
    session = onnxruntime.InferenceSession(file)
    answers = session.run(None, dict(inputs))
    outputs = {tensor.name: np.asarray(answer) for tensor, answer in zip(session.get_outputs(), answers, strict=True)}
    publish(
        file,
        name=name,
        repository=repository,
        max_batch_size=8,
        manifest={},
        parity=[],
        golden=golden_arrays(inputs, outputs),
        labels=labels,
        class_labels=class_labels,
        states=states,
        preparation=Preparation() if "image" in inputs else None,
    )


def _write(graph: str, file: Path, constants: Mapping[str, Any]) -> Path:
    model = parser.parse_model(HEADER + graph)
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file
