"""Five tiny hand-made models with the tensors of the served ones, so that clients and load tests need no training.

Each does something a test can predict: the classifier names the brightest band of a picture, the denoiser blurs, the
generator maps a latent through fixed weights, the next character is most likely the following one of the vocabulary.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIZE, LABELS, LATENT = 28, 10, 64
VOCABULARY = "\n \"':\\abcdefghijklmnopqrstuvwxyzT"
ITEMS = 16  # in each golden.npz


def banded(label: int, brightness: int = 255) -> np.ndarray:
    """UINT8 [28, 28, 1]: black, with the band of columns that `classifier` takes for class `label` lit."""
    image = np.zeros((SIZE, SIZE, 1), dtype=np.uint8)
    image[:, _bands() == label] = brightness
    return image


def classifier() -> onnx.ModelProto:
    """`image` UINT8 [batch, 28, 28, 1] -> `probabilities` FP32 [batch, 10]: softmax of ten bands of mean brightness."""
    weights = np.zeros((SIZE, SIZE, LABELS), dtype=np.float32)
    for label in range(LABELS):
        weights[:, _bands() == label, label] = 1.0
    weights = weights.reshape(-1, LABELS)
    nodes = [
        helper.make_node("Cast", ["image"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["bright"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    constants = {"weights": weights * 10 / 255 / weights.sum(axis=0)}
    image = _tensor("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 1])
    return _model(nodes, [image], [_tensor("probabilities", TensorProto.FLOAT, ["batch", LABELS])], constants)


def denoiser() -> onnx.ModelProto:
    """`image` -> `denoised` UINT8 [batch, 28, 28, 1] (3x3 mean) and `error` FP32 [batch, 1] (mean change in [0, 1])."""
    nodes = [
        helper.make_node("Cast", ["image"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["bright"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["blurred"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Sub", ["blurred", "planes"], ["change"]),
        helper.make_node("Abs", ["change"], ["distance"]),
        helper.make_node("ReduceMean", ["distance", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Div", ["column", "white"], ["error"]),
        helper.make_node("Transpose", ["blurred"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["pixels"], ["denoised"], to=TensorProto.UINT8),
    ]
    constants = {"axes": np.array([1, 2, 3]), "last": np.array([1]), "white": np.array(255, dtype=np.float32)}
    image = _tensor("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 1])
    outputs = [
        _tensor("denoised", TensorProto.UINT8, ["batch", SIZE, SIZE, 1]),
        _tensor("error", TensorProto.FLOAT, ["batch", 1]),
    ]
    return _model(nodes, [image], outputs, constants)


def generator() -> onnx.ModelProto:
    """`latent` FP32 [batch, 64] -> `image` UINT8 [batch, 28, 28, 1]."""
    weights = np.random.default_rng(1).standard_normal((LATENT, SIZE * SIZE)).astype(np.float32) / 4
    nodes = [
        helper.make_node("MatMul", ["latent", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["unit"]),
        helper.make_node("Mul", ["unit", "white"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["image"]),
    ]
    constants = {
        "weights": weights,
        "white": np.array(255, dtype=np.float32),
        "shape": np.array([-1, SIZE, SIZE, 1]),
    }
    latent = _tensor("latent", TensorProto.FLOAT, ["batch", LATENT])
    return _model(nodes, [latent], [_tensor("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 1])], constants)


def next_character() -> onnx.ModelProto:
    """`tokens` INT64 [batch, time] -> `probabilities` FP32 [batch, time, vocabulary]; token + 1 is the likeliest."""
    size = len(VOCABULARY)
    logits = np.random.default_rng(2).uniform(0, 1, (size, size)).astype(np.float32)
    logits[np.arange(size), (np.arange(size) + 1) % size] = 5.0
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["logits"], axis=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    tokens = _tensor("tokens", TensorProto.INT64, ["batch", "time"])
    output = _tensor("probabilities", TensorProto.FLOAT, ["batch", "time", size])
    return _model(nodes, [tokens], [output], {"table": logits})


def publish_lookalikes(repository: Path) -> None:
    """Write all five into `repository` as contract 3 lays it out, version 1 of each, with golden.npz and labels."""
    draw = np.random.default_rng(3)
    images = draw.integers(0, 256, (ITEMS, SIZE, SIZE, 1), dtype=np.uint8)
    bands = np.stack([banded(item % LABELS, 200) for item in range(ITEMS)])
    digits = [str(label) for label in range(LABELS)]
    tokens = draw.integers(0, len(VOCABULARY), (ITEMS, 17))
    latent = draw.standard_normal((ITEMS, LATENT)).astype(np.float32)
    characters = [json.dumps(character)[1:-1] for character in VOCABULARY]
    _publish(repository / "cnn", classifier(), {"image": bands}, {"probabilities": digits})
    _publish(repository / "resnet", classifier(), {"image": bands}, {"probabilities": digits})
    _publish(repository / "lstm", next_character(), {"tokens": tokens}, {"probabilities": characters})
    _publish(repository / "autoencoder", denoiser(), {"image": images}, {})
    _publish(repository / "gan", generator(), {"latent": latent}, {})


def _publish(folder: Path, model: onnx.ModelProto, inputs: dict[str, np.ndarray], labels: dict[str, list[str]]) -> None:
    version = folder / "1"
    version.mkdir(parents=True)
    onnx.save(model, version / "model.onnx")
    session = onnxruntime.InferenceSession(version / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, inputs), strict=True))
    arrays = {f"inputs/{name}": array for name, array in inputs.items()}
    arrays |= {f"outputs/{name}": array for name, array in outputs.items()}
    np.savez(version / "golden.npz", **arrays)
    for lines in labels.values():
        (folder / "labels.txt").write_text("\n".join(lines) + "\n")
    (folder / "config.pbtxt").write_text(_config(folder.name, model, set(labels)))


def _config(name: str, model: onnx.ModelProto, labelled: set[str]) -> str:
    types = {TensorProto.UINT8: "TYPE_UINT8", TensorProto.INT64: "TYPE_INT64", TensorProto.FLOAT: "TYPE_FP32"}
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', "max_batch_size: 8", "dynamic_batching {}"]
    for kind, tensors in (("input", model.graph.input), ("output", model.graph.output)):
        for tensor in tensors:
            dims = [dim.dim_value or -1 for dim in tensor.type.tensor_type.shape.dim][1:]
            label = 'label_filename: "labels.txt"' if tensor.name in labelled else ""
            data_type = types[tensor.type.tensor_type.elem_type]
            lines.append(f'{kind} [{{ name: "{tensor.name}" data_type: {data_type} dims: {dims} {label} }}]')
    lines.append("instance_group [{ kind: KIND_CPU count: 1 }]")
    return "\n".join(lines) + "\n"


def _bands() -> np.ndarray:
    return np.arange(SIZE) * LABELS // SIZE


def _tensor(name: str, element: int, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "lookalike", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
