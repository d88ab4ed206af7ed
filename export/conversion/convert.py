"""A served module to an ONNX file, by either of PyTorch's exporters."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir
import torch

from conch.contracts.errors import ConchError
from export.conversion.cleaning import clean
from export.conversion.exporter_failure import details, reason
from export.conversion.memory import LARGE, let_go, weight_bytes
from export.proof.subject import Subject
from serving.onnx_files.releases import OLDEST, Release, find_release
from training.predict import forward_signature, own_tensors, slow_path
from training.served import Served
from training.tensors import Tensor

Exporter = Literal["dynamo", "torchscript"]
EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")

# A batch of 1 is taken for a constant by the dynamo exporter (pytorch issue 157621).
EXAMPLE_BATCH = 2
# Protobuf ends at 2 GB; a file near that cannot be changed any more, so weights move out of it before.
LARGEST_FILE = 1_500_000_000
EXTERNAL_DATA = "model.onnx.data"
"""File beside the ONNX file that holds the weights of a model larger than `LARGEST_FILE`."""


class ExportError(ConchError):
    """The exporter refused the module or failed on it."""

    details = ""
    """All that the exporter said and raised, where it failed."""


@dataclass(frozen=True)
class Converted:
    """What an exporter wrote, and what cleaning left of it."""

    exported_nodes: int
    nodes: int


def convert(served: Served, path: Path, exporter: Exporter, release: Release | None = None) -> Converted:
    """Write the module as one clean ONNX file with its tensors named as declared and its symbolic axes dynamic.

    Weights beyond `LARGEST_FILE` bytes go into `EXTERNAL_DATA` beside it.

    Args:
        release: the oldest Triton release that has to load it; `releases.OLDEST` without.

    Raises:
        ExportError: the module is in training mode, or the exporter cannot translate it.
    """
    release = release or find_release(OLDEST)
    refuse_training_mode(served)
    arguments = own_tensors(run_inputs(served, example_inputs(served, EXAMPLE_BATCH)).values())
    path.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own: a large model comes with weights in files of the exporter's naming.
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=path.parent) as folder:
        written = Path(folder) / "exported.onnx"
        printed = io.StringIO()
        try:
            with _quiet_exporters(printed), slow_path(), torch.no_grad():
                _export(served, arguments, written, exporter, release)
                let_go(served.module)
                finished = _finish(served, written, path, release)
            let_go(served.module)
            return finished
        except Exception as error:  # exporters and their libraries' passes raise whatever they raise
            failed = ExportError(f"{served.name}: the {exporter} exporter failed: {reason(error)}")
            failed.details = details(error, printed.getvalue())
            raise failed from error


def _export(
    served: Served, arguments: tuple[torch.Tensor, ...], written: Path, exporter: Exporter, release: Release
) -> None:
    # Under names that no layer has: a graph's values have one namespace, and an output called like a layer breaks
    # the exporter. They get the declared names in the end.
    options: dict[str, Any] = {
        "input_names": _own_names("input", served.inputs),
        "output_names": _own_names("output", served.outputs),
        "opset_version": release.opset,
    }
    if exporter == "dynamo":
        torch.onnx.export(
            served.module, arguments, written, dynamo=True, verbose=False,
            external_data=weight_bytes(served.module) > LARGE,
            dynamic_shapes=_dynamic_shapes(served), **options,
        )  # fmt: skip
    else:
        names = [*options["input_names"], *options["output_names"]]
        torch.onnx.export(
            served.module, arguments, written, dynamo=False, dynamic_axes=_dynamic_axes(served, names), **options
        )


def _own_names(kind: str, tensors: Sequence[Tensor]) -> list[str]:
    return [f"conch.{kind}.{index}" for index, _ in enumerate(tensors)]


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


def example_inputs(
    served: Subject,
    rows: int,
    sizes: Mapping[str, int] | None = None,
    chosen_from: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """The first `rows` examples by tensor name, symbolic axes cut to `sizes` (their full size without).

    Where there are fewer, they begin again. Others are chosen from where they are given.
    """
    sizes, examples = sizes or {}, chosen_from or served.examples
    chosen = {}
    for tensor in served.inputs:
        array = examples[tensor.name]
        array = array[np.arange(rows) % len(array)]
        for axis, size in enumerate(tensor.shape, start=0 if served.batched else 1):
            if isinstance(size, str) and size in sizes:
                array = array.take(range(sizes[size]), axis)
        chosen[tensor.name] = np.ascontiguousarray(array)
    return chosen


def run_inputs(served: Subject, items: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What one run is given of these items: all where they make a batch, else the first."""
    return dict(items) if served.batched else {name: np.asarray(array[0]) for name, array in items.items()}


def _dynamic_shapes(served: Served) -> tuple[Any, ...]:
    dimensions = {
        size: torch.export.Dim(size) for tensor in served.inputs for size in tensor.shape if isinstance(size, str)
    }
    shapes = tuple(
        {axis: dimensions[size] for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in served.inputs
    )
    return _as_arguments(served.module, shapes)


def _as_arguments(module: torch.nn.Module, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """An entry a parameter of forward, as torch.export has them: what `*args` collects is one."""
    kinds = [parameter.kind for parameter in forward_signature(module).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return values
    before = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*values[:before], values[before:])


def _dynamic_axes(served: Served, names: Sequence[str]) -> dict[str, dict[int, str]]:
    return {
        name: {axis: size for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for name, tensor in zip(names, (*served.inputs, *served.outputs), strict=True)
    }


def _finish(served: Served, written: Path, path: Path, release: Release) -> Converted:
    """Clean the graph, name symbolic axes as the recipe does where they are dynamic, and set the IR version."""
    model = onnx_ir.load(written)
    exported_nodes = model.graph.num_nodes()
    _rename(model, served)
    clean(model)
    declared = {tensor.name: tensor for tensor in (*served.inputs, *served.outputs)}
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.name in declared:
            value.shape = _named(value.shape, declared[value.name])
    model.ir_version = release.ir_version
    model.producer_name, model.producer_version = "conch", None
    large = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None
    )
    if large > LARGEST_FILE:
        onnx_ir.save(model, path, external_data=EXTERNAL_DATA)
    else:
        onnx_ir.save(onnx_ir.external_data.load_to_model(model), path)
    onnx.checker.check_model(path, full_check=True)
    return Converted(exported_nodes, model.graph.num_nodes())


def _rename(model: onnx_ir.Model, served: Served) -> None:
    """Give inputs and outputs the declared names; whatever else has one of them gets another."""
    names = dict(zip(_own_names("input", served.inputs), (tensor.name for tensor in served.inputs), strict=True))
    names |= dict(zip(_own_names("output", served.outputs), (tensor.name for tensor in served.outputs), strict=True))
    ends = {id(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    taken = set(names.values())
    inner = [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in (*inner, *model.graph.initializers.values()):
        if value.name in taken and id(value) not in ends:
            value.name = f"{value.name}.inner"
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.name = names.get(value.name or "", value.name)


def _named(found: onnx_ir.Shape | None, declared: Tensor) -> onnx_ir.Shape:
    """The found shape with its open dimensions named as declared; the declared one where nothing was found.

    A dimension that inference could not fix is open whatever its name: whether it really takes every size is what the
    grid then runs.
    """
    if found is None:
        return onnx_ir.Shape(declared.shape)
    if len(found) != len(declared.shape):
        return found
    return onnx_ir.Shape(got if isinstance(got, int) else want for got, want in zip(found, declared.shape, strict=True))


@contextlib.contextmanager
def _quiet_exporters(printed: io.StringIO) -> Iterator[None]:
    """Keep what the exporters print and warn of off the terminal, and in `printed`: the proof runs what they doubt."""
    # PyTorch gives many of its loggers handlers of their own, which no handler above them can stand in for.
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    # The torchscript exporter dumps the graph that it failed on to the terminal, from C++.
    dump = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *values: print(*values, file=printed)
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch._C._jit_onnx_log = dump
            logging.disable(disabled)
