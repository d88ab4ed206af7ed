"""The ways to a lower precision, behind one shape: methods to try, groups to keep in fp32, a file written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import onnx

from conch.contracts.errors import ConchError
from export.precision.dynamic import check_opset, scale_a_row, scale_a_tensor
from export.precision.half import convert_half, store_half
from export.precision.linear import linear_layers, prepare_linear
from export.precision.order import BLOCK_SIZE, Order
from export.precision.original import Original
from export.precision.prepare import prepare
from export.precision.recurrent import RECURRENT, quantize_recurrent, recurrent_nodes
from export.precision.static import METHODS, StaticQuantizer
from export.precision.weights import quantize_weights

Write = Callable[[Path, Path, set[str]], None]
"""From a prepared file to a path, with these nodes in the lower precision."""


class Quantizer(Protocol):
    """Writes variants of one fp32 file that run the same operators."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What is tried: of those that pass, the one with the best score counts, for they are equally fast."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of what can be kept in fp32, one by one."""
        ...

    @property
    def describes(self) -> Mapping[str, str]:
        """What the manifest says of every variant."""
        ...

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        """Write the variant with the groups `kept` in fp32 to `path`."""
        ...


def calibrates(original: Path, order: Order) -> bool:
    """Whether ranges of activations may be measured, on items of their own."""
    return order.precision == "int8" and order.way in ("auto", "static") and not _is_recurrent(original, order)


def quantizers_for(original: Original, order: Order) -> tuple[Quantizer, ...]:
    """The ways that suit the graph; files they need are written beside it.

    Raises:
        ConchError: nothing in the graph can be brought to this precision, or there are no inputs to calibrate with.
    """
    if order.precision == "fp16":
        return (_Half(original.fp32),)
    ways = _ways(original, order)
    found = tuple(quantizer for quantizer in ways if quantizer.groups)
    if not found:
        wanted = "MatMul, Gemm" if order.weights_alone or order.way == "dynamic" else "Conv, Gemm, MatMul, LSTM"
        raise ConchError(
            f"{original.name}: nothing to quantize, there is no layer with weights that has a kernel for it "
            f"({wanted}); publish it in fp32 or fp16"
        )
    return found


def _ways(original: Original, order: Order) -> tuple[Quantizer, ...]:
    beside = original.fp32.parent / "prepared" / "model.onnx"
    if order.weights_alone:
        prepare_linear(original.fp32, beside)
        return _weights(beside, order)
    if _is_recurrent(original.fp32, order):
        prepare(original.fp32, beside)
        return _recurrent(beside, order)
    ways: tuple[Quantizer, ...] = ()
    linear = original.fp32.parent / "prepared-linear" / "model.onnx"
    # Static ranges suit what convolutions give; those of the tokens of a transformer differ by far.
    if order.way == "dynamic" or (order.way == "auto" and order.target != "gpu" and _has_matmuls(original.fp32)):
        check_opset(original.name, onnx.load(original.fp32, load_external_data=False))
        prepare_linear(original.fp32, linear)
        ways = _dynamic(linear, order)
    if order.way == "static" or (order.way == "auto" and (original.calibration or not ways)):
        prepare(original.fp32, beside)
        static = _Static(original, beside, order)
        ways = (static, *ways)
    return ways


def _is_recurrent(fp32: Path, order: Order) -> bool:
    return order.way in ("auto", "dynamic") and bool(recurrent_nodes(onnx.load(fp32, load_external_data=False)))


def _has_matmuls(fp32: Path) -> bool:
    """Whether rows of sequences are multiplied by weights: exporters write a linear layer over one vector as Gemm."""
    return bool(linear_layers(onnx.load(fp32, load_external_data=False)))


class _Static:
    methods = tuple(METHODS)

    def __init__(self, original: Original, prepared: Path, order: Order) -> None:
        if missing := [name for name in original.inputs if name not in original.calibration]:
            raise ConchError(
                f"{original.name}: no training inputs to calibrate int8 with for {', '.join(missing)}; "
                f"{original.how_to_calibrate}"
            )
        self._static = StaticQuantizer(prepared, original, order.types)
        self.groups = tuple(self._static.groups)
        self.describes = {
            "kind": "static QDQ, per channel",
            "target": order.target,
            "activations": "int8" if order.types.activations.name == "QInt8" else "uint8",
            "weights": order.types.weights,
        }

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        self._static.quantize(path, method, set(self.groups) - kept)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Layers:
    """Layers of one prepared file, written in one way."""

    prepared: Path
    method: str
    groups: tuple[str, ...]
    describes: Mapping[str, str]
    into: Write = field(repr=False)

    @property
    def methods(self) -> tuple[str, ...]:
        return (self.method,)

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        self.into(self.prepared, path, set(self.groups) - kept)


def _recurrent(prepared: Path, order: Order) -> tuple[Quantizer, ...]:
    def into(rows_alone: bool) -> Write:
        return lambda prepared, path, nodes: quantize_recurrent(
            prepared, path, nodes, rows_alone, order.types.reduce_range
        )

    groups = tuple(recurrent_nodes(onnx.load(prepared)))
    describes = _describes_dynamic("dynamic, recurrent layers", order)
    return (
        _Layers(prepared, "dynamic", groups, describes, into(rows_alone=False)),
        _Layers(prepared, "dynamic, row by row", groups, describes, into(rows_alone=True)),
    )


def _dynamic(prepared: Path, order: Order) -> tuple[Quantizer, ...]:
    def into(write: Callable[[Path, Path, set[str], bool], None]) -> Write:
        return lambda prepared, path, nodes: write(prepared, path, nodes, order.types.reduce_range)

    groups = linear_layers(onnx.load(prepared))
    return (
        _Layers(
            prepared, "dynamic, a scale a tensor", groups,
            _describes_dynamic("dynamic, linear layers", order), into(scale_a_tensor),
        ),
        _Layers(
            prepared, "dynamic, a scale a row", groups,
            _describes_dynamic("dynamic, linear layers, a scale a row", order), into(scale_a_row),
        ),
    )  # fmt: skip


def _describes_dynamic(kind: str, order: Order) -> dict[str, str]:
    return {"kind": kind, "target": order.target, "activations": "uint8", "weights": order.types.weights}


def _weights(prepared: Path, order: Order) -> tuple[Quantizer, ...]:
    bits, block = (4 if order.precision == "int4" else 8), order.block_size or BLOCK_SIZE
    groups = linear_layers(onnx.load(prepared))
    name = f"{bits}-bit weights in blocks of {block}"

    def way(int8: bool) -> Quantizer:
        describes = {
            "kind": "weights alone, MatMulNBits",
            "target": order.target,
            "activations": "int8 in the layers, a scale a block of a row" if int8 else "float32",
            "weights": f"uint{bits}, a scale and a zero point for {block} of a column",
        }
        return _Layers(
            prepared, f"{name}, int8 arithmetic" if int8 else name, groups, describes,
            lambda prepared, path, nodes: quantize_weights(prepared, path, nodes, bits, block, int8),
        )  # fmt: skip

    return (way(int8=False),) if order.target == "gpu" else (way(int8=False), way(int8=True))


class _Half:
    def __init__(self, fp32: Path) -> None:
        self._fp32, model = fp32, onnx.load(fp32, load_external_data=False)
        self._convert = not any(node.op_type in (*RECURRENT, "GRU", "RNN") for node in model.graph.node)
        self.methods = ("fp16",) if self._convert else ("fp16 weights",)
        weights = {tensor.name for tensor in model.graph.initializer}
        self.groups = tuple(node.name for node in model.graph.node if node.name and weights.intersection(node.input))
        self.describes = {"kind": "fp16, inputs and outputs as declared" if self._convert else "weights in fp16"}

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        (convert_half if self._convert else store_half)(self._fp32, path, kept)
