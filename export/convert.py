"""A served module to an ONNX file, by either of PyTorch's exporters."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch

from training.errors import ConchError
from training.recipe import Served

Exporter = Literal["dynamo", "torchscript"]
EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")

# What every Triton release since 24.10 (ONNX Runtime 1.19) loads.
OPSET = 20
IR_VERSION = 10
# A batch of 1 is taken for a constant by the dynamo exporter (pytorch issue 157621).
EXAMPLE_BATCH = 2


class ExportError(ConchError):
    """The exporter refused the module or failed on it."""


def convert(served: Served, path: Path, exporter: Exporter) -> None:
    """Write the module as one ONNX file with its tensors named as declared and its symbolic axes dynamic.

    Raises:
        ExportError: the module is in training mode, or the exporter cannot translate it.
    """
    refuse_training_mode(served)
    arguments = tuple(torch.from_numpy(array) for array in example_inputs(served, EXAMPLE_BATCH).values())
    options: dict[str, Any] = {
        "input_names": [tensor.name for tensor in served.inputs],
        "output_names": [tensor.name for tensor in served.outputs],
        "opset_version": OPSET,
    }
    try:
        with _quiet_exporters(), torch.no_grad():
            if exporter == "dynamo":
                torch.onnx.export(
                    served.module, arguments, path, dynamo=True, external_data=False, verbose=False,
                    dynamic_shapes=_dynamic_shapes(served), **options,
                )  # fmt: skip
            else:
                torch.onnx.export(
                    served.module, arguments, path, dynamo=False, dynamic_axes=_dynamic_axes(served), **options
                )
    except Exception as error:  # exporters raise whatever their many passes raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ExportError(f"{served.name}: the {exporter} exporter failed: {reason[:500]}") from error
    _finish(served, path)


def refuse_training_mode(served: Served) -> None:
    """A layer in training mode (batch normalisation, dropout) exports into a graph that answers otherwise.

    Raises:
        ExportError: naming the first such layer.
    """
    for name, module in served.module.named_modules():
        if module.training:
            path = name or type(served.module).__name__
            raise ExportError(
                f"{served.name}: {path} ({type(module).__name__}) is in training mode; "
                "call .eval() on the served module before it is exported"
            )


def example_inputs(served: Served, rows: int, sizes: dict[str, int] | None = None) -> dict[str, np.ndarray]:
    """The first `rows` real examples by tensor name, symbolic axes cut to `sizes` (their full size without)."""
    sizes = sizes or {}
    chosen = {}
    for tensor in served.inputs:
        array = served.examples[tensor.name][:rows]
        for axis, size in enumerate(tensor.shape):
            if size in sizes:
                array = array.take(range(sizes[size]), axis)
        chosen[tensor.name] = np.ascontiguousarray(array)
    return chosen


def _dynamic_shapes(served: Served) -> tuple[dict[int, Any], ...]:
    dimensions = {
        size: torch.export.Dim(size) for tensor in served.inputs for size in tensor.shape if isinstance(size, str)
    }
    return tuple(
        {axis: dimensions[size] for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in served.inputs
    )


def _dynamic_axes(served: Served) -> dict[str, dict[int, str]]:
    return {
        tensor.name: {axis: size for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in (*served.inputs, *served.outputs)
    }


def _finish(served: Served, path: Path) -> None:
    """Name symbolic axes as the recipe does, where the exporter kept them dynamic, and set the IR version."""
    model = onnx.load(path)
    values = {value.name: value for value in (*model.graph.input, *model.graph.output)}
    for tensor in (*served.inputs, *served.outputs):
        if tensor.name in values:
            dims = values[tensor.name].type.tensor_type.shape.dim
            for dim, size in zip(dims, tensor.shape, strict=False):
                if isinstance(size, str) and not dim.HasField("dim_value"):
                    dim.dim_param = size
    model.ir_version = IR_VERSION
    model.producer_name = "conch"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet_exporters() -> Iterator[None]:
    """Keep the exporters' progress and warnings off the terminal: what they would warn of, the proof runs."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
