"""config.pbtxt of a model, derived from its ONNX file.

The names, types and shapes are those of ONNX Runtime's session: both backends compare the configuration with them, and
what a file declares may be less. Only keys that NVIDIA's C++ ONNX Runtime backend reads are used for settings: the same
folder is honoured by this project's python-based backend and by NVIDIA's container.

Source: triton-inference-server/server docs/user_guide/model_configuration.md and onnxruntime_backend README.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime
from google.protobuf import json_format, text_format
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.backends.onnxruntime import graph_tensors
from serving.errors import ServingError
from serving.onnx_files.inspection import inspect_onnx
from serving.onnx_files.signature import Signature, Tensor, open_session, session_signature
from serving.repository import sequences

LABELS_FILE = "labels.txt"
"""The label file beside config.pbtxt: one line a class."""

WITHOUT_CLASSES = (DataType.TYPE_STRING, DataType.TYPE_BOOL, DataType.TYPE_FP16, DataType.TYPE_BF16)
"""The types whose highest values Triton does not find: it refuses to, and dies of text, by whose size it divides
(triton-inference-server/server src/classification.cc, TopkClassifications)."""

# Set for the CPU: two instances of one thread each answer two requests at once and never fight for a core.
INSTANCES = 2
INTRA_OP_THREADS = 1
# The version before the newest stays loaded, so that a client can go back to it by asking for it.
SERVED_VERSIONS = 2

# What each section decides, written above it in config.pbtxt for whoever opens the file. A line a field that is not at
# Triton's default.
COMMENTS = {
    "name": "Written from the ONNX file of the newest version; names, types and shapes are the graph's own.",
    "platform": "Triton hands a request from one model to the next by itself.",
    "backend": "NVIDIA's ONNX Runtime backend, or Conch's python-based drop-in of the same name.",
    "max_batch_size": "The most items in one run. 0: the model has no batch axis and requests are run one by one.",
    "input": "What a request carries. dims leave out the batch axis; -1 is any length.",
    "output": "What a response carries.",
    "version_policy": "The newest versions are served side by side: a client goes back one by asking for its number.",
    "ensemble_scheduling": "Each model of a step is published under the number of this version, and named by it.",
    "sequence_batching": sequences.COMMENT,
    "dynamic_batching": "Requests that wait while all instances are busy are run as one batch. "
    "max_queue_delay_microseconds, where\nit is there, is how long one waits for others while an instance is idle.",
    "instance_group": "Copies of the model that run at the same time, on the GPU where there is one, else on the CPU.",
    "optimization": "Settings for a GPU; on a CPU they do nothing.",
    "parameters": "Settings of the ONNX Runtime session, and for clients how a picture is prepared (picture_...)\n"
    "or a text is written (generation).",
    "model_operations": "The library of operators that ONNX Runtime does not bring along. Conch's backend finds it in\n"
    "the version's folder; NVIDIA's asks the loader for it (LD_LIBRARY_PATH), and needs a build for C++.",
    "model_warmup": "Run by each instance before a version is ready, because first runs are slow.\n"
    "A batch of N is the same golden item N times; its bytes are in the folder warmup.",
}
# Instead of those, by platform or backend.
COMMENTS_OF: Mapping[str, Mapping[str, str]] = {
    "ensemble": {
        "name": "What clients call. The models of its steps belong to it: published, rolled out and pushed with it.",
        "max_batch_size": "The most items in a request, those of its steps.",
        "version_policy": "The newest alone: the steps below are those of one version.",
    },
    "python": {
        "name": "A tokenizer in front of a model, which lies in the version's folder as model.py and tokenizer.json.",
        "backend": "Triton's Python backend; its Python needs NumPy and the package tokenizers.",
        "max_batch_size": "The most texts in one run.",
        "instance_group": "Copies that run at the same time, each a process; there is nothing in it for a GPU.",
        "parameters": "What Conch knows the model by.",
    },
}
# Further lines of a section that has the field.
FIELD_COMMENTS = {
    "reshape": "An empty reshape: the graph has one number an item here, for which Triton has no shape but [1].",
    "control_input": "control_input: what the graph is told of each request, as that it begins its sequence.",
    "initial_state": "initial_state: what a sequence begins with; data_file is in the folder initial_state.",
    "label_filename": "label_filename: the names of the classes, a line each.",
    "default_queue_policy": "default_queue_policy: where max_queue_size requests wait, one more is refused at once; "
    "one that has\nwaited for default_timeout_microseconds, or for less where it says so itself, is refused then.",
    "priority_levels": "priority_levels: a request of level 1 is run before one of 2; each level has a queue.",
    "rate_limiter": "rate_limiter: what an instance needs while it runs, of what the models of a server share.",
    'name: "cuda"': "cuda: convolutions and matrix products in full FP32, as on a CPU. ONNX Runtime's default is TF32.",
    'name: "tensorrt"': "tensorrt: fp16. Building its engines takes minutes; trt_engine_cache_path keeps them, for\n"
    "this version alone: an engine has the weights in it, and its file's name does not tell whose.",
}
PARAMETER_COMMENTS = {
    "cudnn_conv_algo_search": "How cuDNN chooses on a GPU. 1 is HEURISTIC. The default, 0, is EXHAUSTIVE: every "
    "convolution is\nmeasured again for each new batch size.",
    "FORCE_CPU_ONLY_INPUT_TENSORS": "Inputs in a GPU's memory (CUDA shared memory) are run where they lie. Read by "
    "Triton's Python\nbackend, before Conch's; NVIDIA's ONNX Runtime backend needs no such setting.",
    "generation": "How clients choose the next tokens of a text, which end it, and which model reads or writes for "
    "this one: JSON.",
    "picture_background": "What transparency is laid over.",
    "picture_fit": "How a client brings a picture of another shape to the input's: crop (its middle) or stretch.",
    "picture_resample": "The filter that it changes the size with, by Pillow's name.",
    "picture_white_level": "What becomes 255 in grey of more than 8 bits; full range: 65535 of integers.",
    "tokenizer": "The file of the version that says how a text is tokenized.",
    "intra_op_thread_count": "Threads of one run on the CPU. The default, 0, is one for each core in every instance.",
}


def model_config(
    onnx_file: Path,
    name: str,
    max_batch_size: int,
    labels: Mapping[str, Sequence[str]] | None = None,
    states: Sequence[tuple[str, str]] = (),
    controls: Mapping[str, str] | None = None,
) -> ModelConfig:
    """The configuration under which `onnx_file` is served as `name`.

    Args:
        onnx_file: An ONNX model; with `max_batch_size` above 0 dimension 0 of each input and output is the batch.
        max_batch_size: The most items a run takes, 0 for a model without a batch axis.
        labels: Output name -> one label for each entry of that output's last axis, none with a line break.
        states: Input and output name of each tensor that the server keeps for a sequence of requests.
        controls: Input name of what the graph asks to be told of a request of a sequence -> `start`, `end` or `ready`.

    Raises:
        ServingError: What `inspect_onnx` refuses or ONNX Runtime does not load, a type or shape that cannot be served,
            labels that do not fit, or what the backend would refuse at load.
    """
    return opened_config(onnx_file, name, max_batch_size, labels, states, controls)[0]


def opened_config(
    onnx_file: Path,
    name: str,
    max_batch_size: int,
    labels: Mapping[str, Sequence[str]] | None = None,
    states: Sequence[tuple[str, str]] = (),
    controls: Mapping[str, str] | None = None,
) -> tuple[ModelConfig, onnxruntime.InferenceSession]:
    """As `model_config`, and the session that told what the graph takes."""
    model = inspect_onnx(onnx_file, name).model
    session = open_session(onnx_file, f"model {name!r}: {onnx_file}")
    config = graph_config(session_signature(session, model), name, max_batch_size, labels, states, controls)
    _ask_the_backend(config, session)
    return config, session


def graph_config(
    signature: Signature,
    name: str,
    max_batch_size: int,
    labels: Mapping[str, Sequence[str]] | None = None,
    states: Sequence[tuple[str, str]] = (),
    controls: Mapping[str, str] | None = None,
) -> ModelConfig:
    """As `model_config`, of what is known of a model's inputs and outputs."""
    if max_batch_size < 0:
        raise ServingError(f"model {name!r}: max_batch_size is {max_batch_size}, it must be 0 or more")
    config = ModelConfig(name=name, backend="onnxruntime", max_batch_size=max_batch_size)
    for tensor in signature.inputs:
        _describe(config.input.add(), "input", tensor, name, batched=max_batch_size > 0)
    for tensor in signature.outputs:
        _describe(config.output.add(), "output", tensor, name, batched=max_batch_size > 0)
    if states:
        sequences.set_sequence_batching(config, states, controls or {})
    elif max_batch_size > 0:
        # Without a delay: a request alone would wait for nobody, and what waits for an instance is batched anyway.
        config.dynamic_batching.SetInParent()
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
    sections, comments = [], COMMENTS | dict(COMMENTS_OF.get(config.platform or config.backend, {}))
    for field, _ in config.ListFields():
        section = ModelConfig()
        section.MergeFrom(config)
        for other, _ in config.ListFields():
            if other.name != field.name:
                section.ClearField(other.name)
        place = list(COMMENTS).index(field.name) if field.name in COMMENTS else len(COMMENTS)
        text = _parameters(config) if field.name == "parameters" else _text(section)
        further = [line for name, line in FIELD_COMMENTS.items() if f"  {name}" in text]
        sections.append((place, _comment("\n".join([comments.get(field.name, ""), *further])) + text))
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


def _ask_the_backend(config: ModelConfig, session: onnxruntime.InferenceSession) -> None:
    """Judge `config` as the backend does when it loads the model."""
    said = json_format.MessageToDict(config, preserving_proto_field_name=True)
    try:
        graph_tensors.check_config({"max_batch_size": 0, "input": [], "output": [], **said}, session)
    except ValueError as error:
        raise ServingError(f"model {config.name!r} would not load: {error}") from error


def _describe(entry: Message, kind: str, tensor: Tensor, name: str, *, batched: bool) -> None:
    """Fill a ModelInput or ModelOutput from a graph's tensor."""
    where = f"model {name!r}, {kind} {tensor.name!r}"
    try:
        data_type = DataType.Value(graph_tensors.served_type(kind, tensor))
    except ValueError as error:
        hint = "" if tensor.type.startswith("tensor(") else "; export the model with those inside it"
        raise ServingError(f"model {name!r}: {error}{hint}") from error
    if tensor.shape is None:
        raise ServingError(
            f"{where}: ONNX Runtime knows no shape of it, because none is declared or another than it infers; write "
            "the right one into the file: onnx.tools.update_model_dims.update_inputs_outputs_dims"
        )
    dims = graph_tensors.open_dims(tensor)
    if batched:
        if not dims or dims[0] != -1:
            got = f"dimension 0 is fixed to {dims[0]}" if dims else "it is a scalar"
            raise ServingError(
                f"{where}: {got}, max_batch_size above 0 needs a symbolic batch axis "
                "(export it again with a dynamic batch, or use max_batch_size 0)"
            )
        dims = dims[1:]
    entry.name = tensor.name
    entry.data_type = data_type
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
