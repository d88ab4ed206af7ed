"""The ways to a lower precision, behind one shape: methods to try, groups to keep in fp32, a file written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import onnx

from conch.contracts.errors import ConchError
from export.precision.half import convert_half, store_half
from export.precision.prepare import prepare
from export.precision.recurrent import RECURRENT, quantize_recurrent, recurrent_nodes
from export.precision.static import METHODS, StaticQuantizer
from export.precision.target import TARGETS, TargetName
from training.served import Served

Precision = Literal["int8", "fp16"]


class Quantizer(Protocol):
    """Writes variants of one fp32 file."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What is tried, the preferred one first."""
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


def quantizer_for(served: Served, fp32: Path, precision: Precision, target: TargetName) -> Quantizer:
    """The way that suits the graph in `fp32`; files it needs are written beside it.

    Raises:
        ConchError: nothing in the graph can be brought to this precision, or there are no inputs to calibrate with.
    """
    model = onnx.load(fp32)
    if precision == "fp16":
        return _Half(fp32, model)
    prepared = fp32.with_suffix(".prepared.onnx")
    prepare(fp32, prepared)
    quantizer = _Recurrent(prepared, target) if recurrent_nodes(model) else _Static(served, prepared, target)
    if not quantizer.groups:
        raise ConchError(
            f"{served.name}: nothing to quantize, there is no layer with weights that has an int8 kernel "
            "(Conv, Gemm, MatMul, LSTM); publish it in fp32 or fp16"
        )
    return quantizer


class _Static:
    methods = tuple(METHODS)

    def __init__(self, served: Served, prepared: Path, target: TargetName) -> None:
        missing = [tensor.name for tensor in served.inputs if tensor.name not in served.calibration]
        if missing:
            raise ConchError(
                f"{served.name}: no training inputs to calibrate int8 with for {', '.join(missing)}; "
                "give them in the recipe: Served(..., calibration={name: array of training inputs})"
            )
        calibration = {tensor.name: np.asarray(served.calibration[tensor.name]) for tensor in served.inputs}
        self._static = StaticQuantizer(prepared, calibration, TARGETS[target])
        self.groups = tuple(self._static.groups)
        types = TARGETS[target]
        self.describes = {
            "kind": "static QDQ, per channel",
            "target": target,
            "activations": "int8" if types.activations.name == "QInt8" else "uint8",
            "weights": types.weights,
        }

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        self._static.quantize(path, method, set(self.groups) - kept)  # type: ignore[arg-type]


class _Recurrent:
    methods = ("dynamic", "dynamic, row by row")

    def __init__(self, prepared: Path, target: TargetName) -> None:
        self._prepared, self._types = prepared, TARGETS[target]
        self.groups = tuple(recurrent_nodes(onnx.load(prepared)))
        self.describes = {
            "kind": "dynamic, recurrent layers",
            "target": target,
            "activations": "uint8",
            "weights": self._types.weights,
        }

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        quantize_recurrent(
            self._prepared, path, set(self.groups) - kept,
            rows_alone=method == self.methods[1], reduce_range=self._types.reduce_range,
        )  # fmt: skip


class _Half:
    def __init__(self, fp32: Path, model: onnx.ModelProto) -> None:
        self._fp32 = fp32
        self._convert = not any(node.op_type in (*RECURRENT, "GRU", "RNN") for node in model.graph.node)
        self.methods = ("fp16",) if self._convert else ("fp16 weights",)
        weights = {tensor.name for tensor in model.graph.initializer}
        self.groups = tuple(node.name for node in model.graph.node if node.name and weights.intersection(node.input))
        self.describes = {"kind": "fp16, inputs and outputs as declared" if self._convert else "weights in fp16"}

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        (convert_half if self._convert else store_half)(self._fp32, path, kept)
