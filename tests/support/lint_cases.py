"""For each rule of the linter, a model that makes it find something, and no other rule."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelSequenceBatching

from serving.backends.onnxruntime.parameters import PROFILES
from serving.repository.configuration import parse, render
from serving.repository.foreign import publish_file
from serving.repository.publish import publish
from tests.support import graphs

# A running sum and a running largest value: two states of different shapes.
STATEFUL = """
stateful (float[batch, 1] x, float[batch, 1] a_in, float[batch, 2] b_in)
    => (float[batch, 1] y, float[batch, 1] a_out, float[batch, 2] b_out)
{ a_out = Add(x, a_in)
  b_out = Max(x, b_in)
  y = Neg(a_out) }
"""
# Joins what is there to nothing.
EMPTY = """
empty (float[batch, 2] x, float[batch, 0] nothing) => (float[batch, 2] y) { y = Concat<axis = 1>(x, nothing) }
"""
STATES = (("a_in", "a_out"), ("b_in", "b_out"))
Harm = Callable[[Path], object]


def config(change: Callable[[ModelConfig], object]) -> Harm:
    """Change the configuration of the model."""

    def harm(model: Path) -> None:
        file = model / "config.pbtxt"
        said = parse(file.read_text())
        change(said)
        file.write_text(render(said))

    return harm


def graph(change: Callable[[onnx.ModelProto], object]) -> Harm:
    """Change the ONNX file."""

    def harm(model: Path) -> None:
        file = model / "1" / "model.onnx"
        said = onnx.load(file)
        change(said)
        onnx.save(said, file)

    return harm


def quantize(said: onnx.ModelProto, largest: int = 127) -> None:
    """Multiply unsigned bytes by weights that use the range up to `largest` of int8."""
    (weight,) = [tensor for tensor in said.graph.initializer if tensor.name == "weight"]
    numbers = onnx.numpy_helper.to_array(weight)
    scale = np.float32(np.abs(numbers).max() / largest)
    said.graph.initializer.remove(weight)
    said.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array), name)
        for name, array in {
            "weight_bytes": np.round(numbers / scale).astype(np.int8), "weight_scale": scale,
            "rows_scale": np.float32(1), "rows_zero": np.uint8(0),
        }.items()
    )  # fmt: skip
    at = next(index for index, node in enumerate(said.graph.node) if "weight" in node.input)
    said.graph.node[at].input[0] = "rows_again"
    for node in (
        onnx.helper.make_node("DequantizeLinear", ["weight_bytes", "weight_scale"], ["weight"]),
        onnx.helper.make_node("DequantizeLinear", ["rows_bytes", "rows_scale", "rows_zero"], ["rows_again"]),
        onnx.helper.make_node("QuantizeLinear", ["rows", "rows_scale", "rows_zero"], ["rows_bytes"]),
    ):
        said.graph.node.insert(at, node)


def hide(model: Path) -> None:
    (model.parent / ".cache").mkdir()


def fix_batch(said: onnx.ModelProto) -> None:
    for value in (*said.graph.input, *said.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 2


def leave_data_out(model: Path) -> None:
    """Weights in a file beside, which is not there."""
    file = model / "1" / "model.onnx"
    said = onnx.load(file)
    for tensor in said.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(said, file, save_as_external_data=True, size_threshold=0, location="weights")
    (model / "1" / "weights").unlink()


def accelerate(name: str, **parameters: str) -> Harm:
    def change(said: ModelConfig) -> None:
        entry = said.optimization.execution_accelerators.gpu_execution_accelerator.add(name=name)
        entry.parameters.update(parameters)

    return config(change)


PROFILE = dict.fromkeys(PROFILES, "image:8x4x4x1")


def record(said: ModelConfig) -> None:
    said.optimization.cuda.graphs = True
    said.optimization.cuda.graph_spec.add(batch_size=9)


def uncomplete(said: ModelConfig) -> None:
    """What somebody writes who leaves the rest to Triton."""
    said.max_batch_size = 0
    for field in ("input", "output", "dynamic_batching", "model_warmup"):
        said.ClearField(field)


def add_control(said: ModelConfig) -> None:
    control = said.sequence_batching.control_input.add(name="START").control.add()
    control.kind = ModelSequenceBatching.Control.CONTROL_SEQUENCE_START
    control.int32_false_true[:] = [0, 1]


def swap(said: ModelConfig) -> None:
    """Pair the two states crosswise; both have the shape of the first."""
    first, second = said.sequence_batching.state
    first.output_name, second.output_name = second.output_name, first.output_name


def warm_states(said: ModelConfig) -> None:
    """Of one batch size: other models are to have more of them."""
    sample = said.model_warmup.add(name="one", batch_size=1)
    sample.inputs["x"].data_type = DataType.TYPE_FP32
    sample.inputs["x"].dims.append(1)
    sample.inputs["x"].zero_data = True


def fill_up(said: ModelConfig) -> None:
    said.sequence_batching.ClearField("oldest")


def compute_in_double(said: onnx.ModelProto) -> None:
    """Put in front of the output what no ONNX Runtime computes: Softsign in float64."""
    output = said.graph.output[0].name
    said.graph.node[-1].output[0] = "before"
    said.graph.node.extend(
        [
            onnx.helper.make_node("Cast", ["before"], ["double"], to=onnx.TensorProto.DOUBLE),
            onnx.helper.make_node("Softsign", ["double"], ["signed"], name="sign"),
            onnx.helper.make_node("Cast", ["signed"], [output], to=onnx.TensorProto.FLOAT),
        ]
    )


def set_dims(said: ModelConfig) -> None:
    said.output[0].dims[:] = [-1]


def prefer(said: ModelConfig) -> None:
    said.dynamic_batching.preferred_batch_size[:] = [4, 64]


def hurry(said: ModelConfig) -> None:
    said.dynamic_batching.max_queue_delay_microseconds = 200
    said.dynamic_batching.default_queue_policy.default_timeout_microseconds = 100


def cross_levels(said: ModelConfig) -> None:
    said.dynamic_batching.priority_levels, said.dynamic_batching.default_priority_level = 2, 3


HALVES = """
halves (float[batch, 3] x) => (float16[batch, 3] probabilities)
{ probabilities = Cast<to = 10>(x) }
"""
TEXT = """
words (string[batch, 1] text) => (string[batch, 1] same)
{ same = Identity(text) }
"""


def instead(text: str) -> Harm:
    """Publish another graph in the place of the model."""

    def harm(model: Path) -> None:
        shutil.rmtree(model)
        publish_file(graphs.write(text, model.parent.parent / "another.onnx"), model.name, model.parent)

    return harm


def label_halves(model: Path) -> None:
    instead(HALVES)(model)
    (model / "labels.txt").write_text("cat\ndog\nbird\n")
    config(lambda said: setattr(said.output[0], "label_filename", "labels.txt"))(model)


def specific(*versions: int) -> Harm:
    return config(lambda said: said.version_policy.specific.versions.extend(versions))


def add_folder(name: str) -> Harm:
    return lambda model: (model / name).mkdir()


def clear(field: str) -> Harm:
    return config(lambda said: said.ClearField(field))


CASES: dict[str, tuple[str, Harm]] = {
    "hidden-folder": ("classify", hide),
    "config-unreadable": ("classify", lambda model: (model / "config.pbtxt").write_text("input [ { nam: 'x' } ]\n")),
    "no-config": ("classify", lambda model: (model / "config.pbtxt").unlink()),
    "name-mismatch": ("classify", config(lambda said: setattr(said, "name", "another"))),
    "unknown-backend": ("classify", config(lambda said: setattr(said, "backend", "onnxruntme"))),
    "missing-step": (
        "classify",
        config(lambda said: said.ensemble_scheduling.step.add(model_name="gone", model_version=1)),
    ),
    "no-version": ("classify", lambda model: shutil.rmtree(model / "1")),
    "missing-version": ("classify", specific(1, 7)),
    "version-without-model": ("classify", lambda model: (model / "1" / "model.onnx").unlink()),
    "empty-file": ("classify", lambda model: (model / "1" / "model.onnx").write_bytes(b"")),
    "stray-folder": ("classify", add_folder("02")),
    "unreadable-graph": ("classify", lambda model: (model / "1" / "model.onnx").write_bytes(b"no model")),
    "external-data": ("classify", leave_data_out),
    "opset-too-new": ("classify", graph(lambda said: setattr(said.opset_import[0], "version", 99))),
    "ir-too-new": ("classify", graph(lambda said: setattr(said, "ir_version", 99))),
    "tensor-not-servable": (
        "classify",
        graph(lambda said: setattr(said.graph.output[0].type.tensor_type, "elem_type", onnx.TensorProto.BFLOAT16)),
    ),
    "tensor-name": ("classify", config(lambda said: setattr(said.output[0], "name", "probabilitys"))),
    "tensor-type": ("classify", config(lambda said: setattr(said.output[0], "data_type", DataType.TYPE_FP64))),
    "tensor-shape": ("classify", config(set_dims)),
    "operator-without-kernel": ("classify", graph(compute_in_double)),
    "zero-length-axis": ("empty", lambda model: None),
    "batch-axis": ("classify", graph(fix_batch)),
    "batch-auto-completed": ("classify", config(uncomplete)),
    "labels-missing": ("classify", lambda model: (model / "labels.txt").unlink()),
    "labels-count": ("classify", lambda model: (model / "labels.txt").write_text("cat\ndog\n")),
    "labels-text": ("classify", lambda model: (model / "labels.txt").write_bytes(b"cat\r\ndog\r\nbird\r\n")),
    "labels-without-classes": ("classify", label_halves),
    "classes-of-text": ("classify", instead(TEXT)),
    "preferred-batch": ("classify", config(prefer)),
    "queue-delay": (
        "classify",
        config(lambda said: setattr(said.dynamic_batching, "max_queue_delay_microseconds", 2_000_000)),
    ),
    "never-batched": ("classify", clear("dynamic_batching")),
    "unbounded-queue": (
        "classify",
        config(lambda said: said.dynamic_batching.ClearField("default_queue_policy")),
    ),
    "queue-timeout": (
        "classify",
        config(hurry),
    ),
    "priority-level": ("classify", config(cross_levels)),
    "rate-limit": (
        "classify",
        config(lambda said: said.instance_group[0].rate_limiter.resources.add(name="memory", count=1)),
    ),
    "too-many-threads": ("classify", config(lambda said: setattr(said.instance_group[0], "count", 9))),
    "parameter-value": (
        "classify",
        config(lambda said: setattr(said.parameters["intra_op_thread_count"], "string_value", "99999999999")),
    ),
    "unknown-parameter": (
        "classify",
        config(lambda said: setattr(said.parameters["intra_op_threads"], "string_value", "1")),
    ),
    "cuda-option-overwritten": ("classify", accelerate("cuda", cudnn_conv_algo_search="DEFAULT")),
    "tensorrt-parameter": ("classify", accelerate("tensorrt", **PROFILE, trt_fp16_enable="1")),
    "engine-cache-shared": (
        "classify",
        accelerate("tensorrt", **PROFILE, trt_engine_cache_enable="1", trt_engine_cache_path="/engines"),
    ),
    "tensorrt-profile": ("classify", accelerate("tensorrt", precision_mode="FP16")),
    "recorded-anywhere": ("classify", accelerate("cuda", enable_cuda_graph="1")),
    "cuda-graphs": ("classify", config(record)),
    "unknown-accelerator": ("classify", accelerate("tensort")),
    "no-warm-up": ("classify", clear("model_warmup")),
    "warm-up-sizes": ("classify", config(lambda said: setattr(said, "max_batch_size", 16))),
    "warm-up-input": ("classify", lambda model: (model / "warmup" / "1" / "image").write_bytes(b"12")),
    "warm-up-of-states": ("stateful", config(warm_states)),
    "state-not-in-graph": (
        "stateful",
        config(lambda said: setattr(said.sequence_batching.state[1], "output_name", "c_out")),
    ),
    "state-tensor": (
        "stateful",
        config(lambda said: setattr(said.sequence_batching.state[0], "data_type", DataType.TYPE_FP16)),
    ),
    "states-swapped": ("alike", config(swap)),
    "state-uninitialised": (
        "stateful",
        config(lambda said: said.sequence_batching.state[0].ClearField("initial_state")),
    ),
    "int8-saturates": ("classify", graph(quantize)),
    "control-not-in-graph": ("stateful", config(add_control)),
    "direct-without-ready": ("stateful", config(fill_up)),
}
"""Rule -> the clean model that it begins with, and what makes it find something."""


def publish_clean(folder: Path, name: str) -> Path:
    """A model as `publish` writes it, alone in its repository; its folder."""
    text, labels, states = {
        "classify": (graphs.CLASSIFY, {"probabilities": ("cat", "dog", "bird")}, ()),
        "stateful": (STATEFUL, {}, STATES),
        "empty": (EMPTY, {}, ()),
        "alike": (STATEFUL.replace("[batch, 2]", "[batch, 1]"), {}, STATES),
    }[name]
    file = graphs.write(text, folder / "model.onnx")
    publish(
        file,
        name=name,
        repository=folder / "models",
        max_batch_size=8,
        manifest={},
        parity=[],
        golden=graphs.golden(file),
        labels=labels,
        states=states,
    )
    return folder / "models" / name
