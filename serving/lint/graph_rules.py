"""Rules that compare the configuration with the ONNX file of each version that is served."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.errors import ServingError
from serving.lint.findings import Change, Found, rule
from serving.lint.model_folder import ModelFolder
from serving.onnx_files.external_data import ExternalDataError
from serving.onnx_files.operator_uses import inferred
from serving.onnx_files.releases import newest_opset

# A ModelInput or ModelOutput.
Tensor: TypeAlias = Any


@rule("unreadable-graph", "error")
def unreadable_graph(model: ModelFolder) -> Iterator[Found]:
    """The ONNX file is damaged, or ONNX Runtime has not what it needs."""
    for version, found in model.inspected.items():
        if isinstance(found, ServingError) and not isinstance(found, ExternalDataError):
            yield Found(_file(model, version), _reason(found), "a readable ONNX file", "export or copy it again")


@rule("external-data", "error")
def external_data(model: ModelFolder) -> Iterator[Found]:
    """Weights outside the ONNX file are missing, cut off, or outside the version's folder."""
    for version, found in model.inspected.items():
        if isinstance(found, ExternalDataError):
            yield Found(
                _file(model, version), _reason(found), "its weights beside it", "copy the missing files to the version"
            )


@rule("opset-too-new", "error")
def opset_too_new(model: ModelFolder) -> Iterator[Found]:
    """The operator set is newer than the ONNX Runtime of the Triton release loads."""
    release = model.release
    for version, found in model.graphs.items():
        opset = newest_opset(found.model)
        if opset > release.newest_opset:
            yield Found(
                _file(model, version),
                f"opset {opset}",
                f"at most {release.newest_opset} for Triton {release.name} (ONNX Runtime {release.onnx_runtime})",
                f"export it for that release: --triton {release.name}",
            )


@rule("ir-too-new", "error")
def ir_too_new(model: ModelFolder) -> Iterator[Found]:
    """The file's IR version is newer than the ONNX Runtime of the Triton release loads."""
    release = model.release
    for version, found in model.graphs.items():
        if found.model.ir_version > release.newest_ir_version:
            yield Found(
                _file(model, version),
                f"IR version {found.model.ir_version}",
                f"at most {release.newest_ir_version} for Triton {release.name} (ONNX Runtime {release.onnx_runtime})",
                f"export it for that release: --triton {release.name}",
            )


@rule("tensor-not-servable", "error")
def tensor_not_servable(model: ModelFolder) -> Iterator[Found]:
    """An input or output of the graph has a type or shape that Triton does not have."""
    for version, found in model.described.items():
        if isinstance(found, ServingError):
            yield Found(_file(model, version), _reason(found), "tensors of Triton's types", "export it with others")


@rule("tensor-name", "error")
def tensor_name(model: ModelFolder) -> Iterator[Found]:
    """A configured tensor is not in the graph, or the graph needs one that is not configured."""
    config = model.config
    states = config.sequence_batching.state
    hidden = {state.input_name for state in states} | {entry.target_name[0] for entry in config.batch_input}
    hidden |= {control.name for control in config.sequence_batching.control_input}
    for version, graph in model.tensors.items():
        for kind, entries, there in (("input", config.input, graph.input), ("output", config.output, graph.output)):
            names = [tensor.name for tensor in there]
            for entry in entries:
                if entry.name not in names:
                    yield Found(f"{kind} {entry.name!r}", "not in the graph", f"of version {version}: {names}")
        given = hidden | {entry.name for entry in config.input}
        for tensor in graph.input if config.input else ():  # none at all: Triton completes them
            if tensor.name not in given:
                yield Found(f"input {tensor.name!r}", "not configured", f"every input that version {version} needs")


@rule("tensor-type", "error")
def tensor_type(model: ModelFolder) -> Iterator[Found]:
    """A configured type is not the graph's."""
    for version, kind, entry, tensor in _pairs(model):
        if entry.data_type != tensor.data_type:
            wanted = f"{DataType.Name(tensor.data_type)}, as version {version} has it"
            found = DataType.Name(entry.data_type)
            yield Found(f"{kind} {entry.name!r}.data_type", found, wanted, change=_retype(kind, tensor))


@rule("tensor-shape", "error")
def tensor_shape(model: ModelFolder) -> Iterator[Found]:
    """Configured dims are not the graph's; an input may say a size where the graph leaves it open, an output not."""
    batched = model.config.max_batch_size > 0
    for version, kind, entry, tensor in _pairs(model):
        shape = list(tensor.dims)
        if batched and shape[:1] != [-1]:
            continue  # the rule batch-axis has it
        wanted = shape[1:] if batched else shape
        dims = list(entry.reshape.shape if entry.HasField("reshape") else entry.dims)
        if len(dims) != len(wanted) or not all(_fits(a, b, kind) for a, b in zip(dims, wanted, strict=True)):
            change = None
            if wanted and not entry.HasField("reshape"):
                change = _reshape(kind, entry.name, wanted)
            yield Found(
                f"{kind} {entry.name!r}.dims",
                f"{dims}" + (" after the reshape" if entry.HasField("reshape") else ""),
                f"{wanted}, as version {version} has it" + (" after the batch axis" if batched else ""),
                "" if change else "correct the dims or the reshape",
                change,
            )


@rule("zero-length-axis", "error", publishable=True, loads=True)
def zero_length_axis(model: ModelFolder) -> Iterator[Found]:
    """A tensor has an axis of length 0, which a configuration cannot say: NVIDIA's backend does not load the model."""
    for version, found in model.graphs.items():
        graph = inferred(found.model).graph  # ONNX Runtime compares with what it infers
        initialized = {tensor.name for tensor in graph.initializer}
        for kind, values in (("input", graph.input), ("output", graph.output)):
            for value in values:
                dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim]
                if 0 in dims and value.name not in initialized:
                    yield Found(
                        f"{kind} {value.name!r}.dims",
                        f"{dims} in the graph of version {version}; dims have no 0, and -1 is not equal to it there",
                        "axes of length 1 or more, or open ones",
                        "export it without that tensor, or with that axis dynamic",
                    )


@rule("batch-axis", "error")
def batch_axis(model: ModelFolder) -> Iterator[Found]:
    """max_batch_size is above 0, and a tensor's first axis is not open."""
    if model.config.max_batch_size == 0:
        return
    for version, kind, entry, tensor in _pairs(model):
        if list(tensor.dims)[:1] != [-1]:
            yield Found(
                "max_batch_size",
                f"{model.config.max_batch_size}, but {kind} {entry.name!r} of version {version} is {list(tensor.dims)}",
                "0, or a graph whose first axes are all open",
                "export it again with a dynamic batch, or set 0 and add the first axis to all dims",
            )


@rule("batch-auto-completed", "warning")
def batch_auto_completed(model: ModelFolder) -> Iterator[Found]:
    """max_batch_size 0 does not stay 0 where Triton completes the tensors and all their first axes are open."""
    config = model.config
    if not model.has_config or config.max_batch_size or (config.input and config.output):
        return
    for version, graph in model.tensors.items():
        if all(list(tensor.dims)[:1] == [-1] for tensor in (*graph.input, *graph.output)):
            yield Found(
                "max_batch_size",
                f"0 without inputs or outputs: of version {version} all first axes are open, so NVIDIA's backend makes "
                "it 4 and switches dynamic batching on",
                "inputs and outputs written out, which stops that",
                "write them, or set max_batch_size to what is meant",
            )


def _pairs(model: ModelFolder) -> Iterator[tuple[int, str, Tensor, Tensor]]:
    """Version, kind, configured tensor and the graph's tensor of that name."""
    config = model.config
    for version, graph in model.tensors.items():
        for kind, entries, there in (("input", config.input, graph.input), ("output", config.output, graph.output)):
            tensors = {tensor.name: tensor for tensor in there}
            for entry in entries:
                if entry.name in tensors:
                    yield version, kind, entry, tensors[entry.name]


def _fits(configured: int, there: int, kind: str) -> bool:
    return configured == there or (kind == "input" and there == -1)


def _retype(kind: str, tensor: Tensor) -> Change:
    def change(config: ModelConfig) -> dict[str, bytes]:
        for entry in getattr(config, kind):
            if entry.name == tensor.name:
                entry.data_type = tensor.data_type
        return {}

    return change


def _reshape(kind: str, name: str, dims: Sequence[int]) -> Change:
    def change(config: ModelConfig) -> dict[str, bytes]:
        for entry in getattr(config, kind):
            if entry.name == name:
                entry.dims[:] = dims
        return {}

    return change


def _file(model: ModelFolder, version: int) -> str:
    return str(model.model_file(version).relative_to(model.path))


def _reason(error: ServingError) -> str:
    """The message without the model's name and path, which the finding has itself."""
    return str(error).partition(".onnx")[2].lstrip(": ") or str(error)
