"""A model's inputs and outputs as ONNX Runtime's session has them: a server compares a configuration with those.

What a file declares is less, and may be wrong: the session infers shapes, and folds constants that make more of them
known. With other optimizations it can have other shapes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

from serving.backends.onnxruntime.graph_tensors import optimization_level
from serving.errors import ServingError
from serving.onnx_files.custom_operators import open_with_operators
from serving.onnx_files.runtime_reason import runtime_reason

Shape = tuple[int | str | None, ...]
"""As `InferenceSession` gives it: a length, or a name or None for an open axis."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph."""

    name: str
    type: str
    """ONNX Runtime's name, such as `tensor(float)`."""
    shape: Shape | None
    """None where nobody knows how many axes it has; () for a scalar."""


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, in the graph's order; inputs with a value of their own are left out."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def open_session(onnx_file: Path, where: str, level: int = 0) -> onnxruntime.InferenceSession:
    """The session of a file on the CPU, as the backend opens it.

    Args:
        onnx_file: The model.
        where: Begins the message.
        level: `optimization { graph { level } }` of the configuration.

    Raises:
        ServingError: ONNX Runtime does not load it, with its reason.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well
    options.graph_optimization_level = optimization_level(level)
    try:
        return open_with_operators(onnx_file, options, ["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise ServingError(
            f"{where}: ONNX Runtime {onnxruntime.__version__} does not load it: {runtime_reason(error)}"
        ) from error


def session_signature(session: onnxruntime.InferenceSession, model: onnx.ModelProto) -> Signature:
    """What the session of `model` says.

    ONNX Runtime gives the same empty shape for a scalar and for a tensor of unknown shape: those are told apart by what
    the file declares and what can be inferred of it.
    """
    unclear = {output.name for output in session.get_outputs() if not output.shape}
    scalars = {value.name for value in model.graph.input if _is_scalar(value)} | _scalar_outputs(model, unclear)

    def described(entries: Iterable[onnxruntime.NodeArg]) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(entry.name, entry.type, tuple(entry.shape) if entry.shape or entry.name in scalars else None)
            for entry in entries
        )

    return Signature(described(session.get_inputs()), described(session.get_outputs()))


def declared_signature(model: onnx.ModelProto) -> Signature:
    """What the file itself says, for one that this machine's ONNX Runtime does not load."""
    graph = model.graph
    initialized = {tensor.name for tensor in graph.initializer}
    return Signature(
        tuple(_declared(value) for value in graph.input if value.name not in initialized),
        tuple(_declared(value) for value in _with_shapes(model).graph.output),
    )


def _scalar_outputs(model: onnx.ModelProto, unclear: set[str]) -> set[str]:
    """Those of the outputs that are scalars: inferred to be, or declared where nothing can be inferred."""
    if not unclear:
        return set()
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred: Mapping[str, onnx.ValueInfoProto] = {
        value.name: value for value in onnx.shape_inference.infer_shapes(bare).graph.output
    }
    return {
        value.name
        for value in model.graph.output
        if value.name in unclear and _is_scalar(inferred[value.name] if _has_shape(inferred[value.name]) else value)
    }


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, its outputs' shapes inferred where it leaves them out."""
    if all(_has_shape(value) for value in model.graph.output):
        return model
    return onnx.shape_inference.infer_shapes(model)


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def _is_scalar(value: onnx.ValueInfoProto) -> bool:
    return _has_shape(value) and not value.type.tensor_type.shape.dim


def _declared(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.WhichOneof("value") or "nothing"
    if kind != "tensor_type":
        return Tensor(value.name, f"{kind.removesuffix('_type')}(...)", None)
    tensor = value.type.tensor_type
    known = tensor.elem_type in onnx.TensorProto.DataType.values()
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if known else f"number {tensor.elem_type}"
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
    return Tensor(value.name, f"tensor({name})", shape if _has_shape(value) else None)
