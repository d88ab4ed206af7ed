"""config.pbtxt of a model, derived from its ONNX file.

The names, types and shapes come from the graph's own inputs and outputs, so the configuration cannot disagree with
the model. Only keys that NVIDIA's C++ ONNX Runtime backend reads are used for settings: the same folder is honoured by
this project's python-based backend and by NVIDIA's container.

Source: triton-inference-server/server docs/user_guide/model_configuration.md and onnxruntime_backend README.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.errors import ServingError
from serving.onnx_files.inspection import inspect_onnx
from serving.repository import sequences

LABELS_FILE = "labels.txt"
"""The label file beside config.pbtxt: one line a class."""

WITHOUT_CLASSES = (DataType.TYPE_STRING, DataType.TYPE_BOOL, DataType.TYPE_FP16, DataType.TYPE_BF16)
"""The types whose highest values Triton does not find: it refuses to, and dies of text, by whose size it divides
(triton-inference-server/server src/classification.cc, TopkClassifications)."""

# Set for the CPU: two instances of one thread each answer two requests at once and never fight for a core.
INSTANCES = 2
INTRA_OP_THREADS = 1
# Long enough for requests that arrive together to share one run, short beside any model's own time over a network.
QUEUE_DELAY_MICROSECONDS = 200
# The version before the newest stays loaded, so that a client can go back to it by asking for it.
SERVED_VERSIONS = 2

TRITON_TYPES: Mapping[int, "DataType.ValueType"] = {
    onnx.TensorProto.BOOL: DataType.TYPE_BOOL,
    onnx.TensorProto.UINT8: DataType.TYPE_UINT8,
    onnx.TensorProto.UINT16: DataType.TYPE_UINT16,
    onnx.TensorProto.UINT32: DataType.TYPE_UINT32,
    onnx.TensorProto.UINT64: DataType.TYPE_UINT64,
    onnx.TensorProto.INT8: DataType.TYPE_INT8,
    onnx.TensorProto.INT16: DataType.TYPE_INT16,
    onnx.TensorProto.INT32: DataType.TYPE_INT32,
    onnx.TensorProto.INT64: DataType.TYPE_INT64,
    onnx.TensorProto.FLOAT16: DataType.TYPE_FP16,
    onnx.TensorProto.FLOAT: DataType.TYPE_FP32,
    onnx.TensorProto.DOUBLE: DataType.TYPE_FP64,
    onnx.TensorProto.STRING: DataType.TYPE_STRING,
}
"""ONNX element type -> Triton data type, for every type the ONNX Runtime backend serves."""

# What each section decides, written above it in config.pbtxt for whoever opens the file. A line a field that is not at
# Triton's default.
COMMENTS = {
    "name": "Written from the ONNX file of the newest version; names, types and shapes are the graph's own.",
    "backend": "NVIDIA's ONNX Runtime backend, or Conch's python-based drop-in of the same name.",
    "max_batch_size": "The most items in one run. 0: the model has no batch axis and requests are run one by one.",
    "input": "What a request carries. dims leave out the batch axis; -1 is any length.",
    "output": "What a response carries.",
    "version_policy": "The newest versions are served side by side: a client goes back one by asking for its number.",
    "sequence_batching": sequences.COMMENT,
    "dynamic_batching": "Requests that arrive within this delay of each other are run as one batch.",
    "instance_group": "Copies of the model that run at the same time, on the GPU where there is one, else on the CPU.",
    "optimization": "Settings for a GPU; on a CPU they do nothing.",
    "parameters": "Settings of the ONNX Runtime session, and for clients how a picture is prepared (picture_...).",
    "model_warmup": "Run by each instance before a version is ready, because first runs are slow.\n"
    "A batch of N is the same golden item N times; its bytes are in the folder warmup.",
}
# Further lines of a section that has the field.
FIELD_COMMENTS = {
    "reshape": "An empty reshape: the graph has one number an item here, for which Triton has no shape but [1].",
    "label_filename": "label_filename: the names of the classes, a line each.",
    'name: "cuda"': "cuda: convolutions and matrix products in full FP32, as on a CPU. ONNX Runtime's default is TF32.",
    'name: "tensorrt"': "tensorrt: fp16. Building its engines takes minutes; trt_engine_cache_path keeps them, for\n"
    "this version alone: an engine has the weights in it, and its file's name does not tell whose.",
}
PARAMETER_COMMENTS = {
    "cudnn_conv_algo_search": "How cuDNN chooses on a GPU. 1 is HEURISTIC. The default, 0, is EXHAUSTIVE: every "
    "convolution is\nmeasured again for each new batch size.",
    "FORCE_CPU_ONLY_INPUT_TENSORS": "Inputs in a GPU's memory (CUDA shared memory) are run where they lie. Read by "
    "Triton's Python\nbackend, before Conch's; NVIDIA's ONNX Runtime backend needs no such setting.",
    "picture_background": "What transparency is laid over.",
    "picture_fit": "How a client brings a picture of another shape to the input's: crop (its middle) or stretch.",
    "picture_resample": "The filter that it changes the size with, by Pillow's name.",
    "picture_white_level": "What becomes 255 in grey of more than 8 bits; full range: 65535 of integers.",
    "intra_op_thread_count": "Threads of one run on the CPU. The default, 0, is one for each core in every instance.",
}


def model_config(
    onnx_file: Path,
    name: str,
    max_batch_size: int,
    labels: Mapping[str, Sequence[str]] | None = None,
    states: Sequence[tuple[str, str]] = (),
) -> ModelConfig:
    """The configuration under which `onnx_file` is served as `name`.

    Args:
        onnx_file: An ONNX model; with `max_batch_size` above 0 dimension 0 of each input and output is the batch.
        max_batch_size: The most items a run takes, 0 for a model without a batch axis.
        labels: Output name -> one label for each entry of that output's last axis, none with a line break.
        states: Input and output name of each tensor that the server keeps for a sequence of requests.

    Raises:
        ServingError: What `inspect_onnx` refuses, a type or shape that cannot be served, or labels that do not fit.
    """
    return graph_config(inspect_onnx(onnx_file, name).model, name, max_batch_size, labels, states)


def graph_config(
    model: onnx.ModelProto,
    name: str,
    max_batch_size: int,
    labels: Mapping[str, Sequence[str]] | None = None,
    states: Sequence[tuple[str, str]] = (),
) -> ModelConfig:
    """As `model_config`, of a model that is read and inspected."""
    graph = _with_shapes(model).graph
    if max_batch_size < 0:
        raise ServingError(f"model {name!r}: max_batch_size is {max_batch_size}, it must be 0 or more")
    config = ModelConfig(name=name, backend="onnxruntime", max_batch_size=max_batch_size)
    initialized = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name not in initialized:
            _describe(config.input.add(), value, name, batched=max_batch_size > 0)
    for value in graph.output:
        _describe(config.output.add(), value, name, batched=max_batch_size > 0)
    if states:
        sequences.set_sequence_batching(config, states, QUEUE_DELAY_MICROSECONDS)
    elif max_batch_size > 0:
        config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_MICROSECONDS
    config.version_policy.latest.num_versions = SERVED_VERSIONS
    config.instance_group.add(count=INSTANCES)
    config.parameters["intra_op_thread_count"].string_value = str(INTRA_OP_THREADS)
    config.parameters["cudnn_conv_algo_search"].string_value = "1"
    config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"
    # Under the accelerator, the one place where NVIDIA's backend reads it; it does not overwrite this key.
    cuda = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
    cuda.parameters["use_tf32"] = "0"
    _set_labels(config, labels or {})
    return config


def render(config: ModelConfig) -> str:
    """`config` as the text of a config.pbtxt, with a comment above each section.

    It parses back to an equal message (`google.protobuf.text_format`).
    """
    sections = []
    for field, _ in config.ListFields():
        section = ModelConfig()
        section.MergeFrom(config)
        for other, _ in config.ListFields():
            if other.name != field.name:
                section.ClearField(other.name)
        place = list(COMMENTS).index(field.name) if field.name in COMMENTS else len(COMMENTS)
        text = _parameters(config) if field.name == "parameters" else _text(section)
        further = [line for name, line in FIELD_COMMENTS.items() if f"  {name}" in text]
        sections.append((place, _comment("\n".join([COMMENTS.get(field.name, ""), *further])) + text))
    return "\n".join(text for _, text in sorted(sections, key=lambda section: section[0]))


def _parameters(config: ModelConfig) -> str:
    """The parameters by name, those that Conch sets with a comment of their own."""
    text = ""
    for key in sorted(config.parameters):
        section = ModelConfig()
        section.parameters[key].CopyFrom(config.parameters[key])
        text += _comment(PARAMETER_COMMENTS.get(key, "")) + _text(section)
    return text


def _text(section: ModelConfig) -> str:
    return text_format.MessageToString(section, as_utf8=True, use_short_repeated_primitives=True)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())


def parse(text: str) -> ModelConfig:
    """The message a config.pbtxt's text stands for; `ServingError` with line and column when it is none."""
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ServingError(f"no valid config.pbtxt: {error}") from error


def label_file(labels: Mapping[str, Sequence[str]]) -> str | None:
    """The text of labels.txt, a line a class, or None without labels."""
    return "".join(f"{label}\n" for label in next(iter(labels.values()))) if labels else None


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, its outputs' shapes inferred where it leaves them out; ONNX Runtime infers the same when it loads it."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output if _is_tensor(value)):
        return model
    return onnx.shape_inference.infer_shapes(model)


def _is_tensor(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.WhichOneof("value") == "tensor_type")


def _describe(entry: Message, value: onnx.ValueInfoProto, name: str, *, batched: bool) -> None:
    """Fill a ModelInput or ModelOutput from a graph's value."""
    where = f"model {name!r}, tensor {value.name!r}"
    tensor = value.type.tensor_type
    allowed = ", ".join(onnx.TensorProto.DataType.Name(kind) for kind in TRITON_TYPES)
    if not _is_tensor(value):
        kind = (value.type.WhichOneof("value") or "nothing").removesuffix("_type")
        raise ServingError(
            f"{where}: its type is {kind}, Triton has only tensors; export the model with those inside it"
        )
    if tensor.elem_type not in TRITON_TYPES:
        known = tensor.elem_type in onnx.TensorProto.DataType.values()
        got = onnx.TensorProto.DataType.Name(tensor.elem_type) if known else f"number {tensor.elem_type}"
        raise ServingError(f"{where}: type {got} cannot be served, allowed are {allowed}")
    if not tensor.HasField("shape"):
        raise ServingError(
            f"{where}: the graph gives no shape and none can be inferred; write one into it: "
            "onnx.tools.update_model_dims.update_inputs_outputs_dims"
        )
    # Triton has no axis of fixed length 0: it is declared open, and the graph refuses other lengths.
    dims = [dim.dim_value or -1 for dim in tensor.shape.dim]
    if batched:
        if not dims or dims[0] != -1:
            got = f"dimension 0 is fixed to {dims[0]}" if dims else "it is a scalar"
            raise ServingError(
                f"{where}: {got}, max_batch_size above 0 needs a symbolic batch axis "
                "(export it again with a dynamic batch, or use max_batch_size 0)"
            )
        dims = dims[1:]
    entry.name = value.name
    entry.data_type = TRITON_TYPES[tensor.elem_type]
    if dims:
        entry.dims.extend(dims)
    else:
        # Triton has no empty shape. Both backends take [1] for a scalar; one number an item is [1], reshaped to none.
        entry.dims.append(1)
        if batched:
            entry.reshape.SetInParent()


def _set_labels(config: ModelConfig, labels: Mapping[str, Sequence[str]]) -> None:
    outputs = {output.name: output for output in config.output}
    if len({tuple(names) for names in labels.values()}) > 1:
        raise ServingError(
            f"model {config.name!r}: outputs {sorted(labels)} have different labels, one list is supported"
        )
    for output, names in labels.items():
        where = f"model {config.name!r}, labels of output {output!r}"
        if output not in outputs:
            raise ServingError(f"{where}: there is no such output, there are {sorted(outputs)}")
        if outputs[output].data_type in WITHOUT_CLASSES:
            kind = DataType.Name(outputs[output].data_type)
            raise ServingError(f"{where}: it is {kind}, of which Triton finds no classes; publish it without labels")
        classes = outputs[output].dims[-1]
        if classes not in (-1, len(names)):
            raise ServingError(f"{where}: got {len(names)} labels for an axis of {classes}")
        if any(label.splitlines() != [label] for label in names):
            raise ServingError(f"{where}: a label is one line of text that is not empty, got {list(names)}")
        outputs[output].label_filename = LABELS_FILE
