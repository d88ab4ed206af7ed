"""The first node at which an ONNX graph departs from PyTorch, found by bisection over exposed intermediate values.

A graph is cut between two nodes of its order: the values that cross the cut are exposed as outputs, and the cut is
right when PyTorch computed all of them. Before the culprit every cut is right, behind it none is, so bisection needs
about log2(nodes) runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from conch.contracts.comparison import distance
from export.conversion.cleaning import module_path
from export.conversion.convert import run_inputs
from export.diagnosis.causes import FROZEN, MIXED, usual_cause
from export.diagnosis.oracle import DEPARTURE, TorchValues, telling
from export.proof.budget import largest
from export.proof.cells import EXAMPLES, Cell, Grid
from export.proof.parity import cell_inputs
from export.proof.runtime import onnx_predict
from training.served import Served

_FAILED_NODE = re.compile(r"running (\w+) node\. Name:'([^']*)'")
# How far behind a suspect other cuts are looked at: PyTorch computes an LSTM as one operator, ONNX as a dozen nodes
# between whose cuts it cannot tell.
_LOOK_AHEAD = (1, 2, 3, 5, 8, 13, 21)


@dataclass(frozen=True)
class Culprit:
    """The node a wrong output comes from."""

    operator: str
    node: str
    module: str
    """Path of the module in the served PyTorch module; "" for its own forward."""
    output: str
    """The first value that departs."""
    cell: str
    """The cell it was found in, in words."""
    cause: str
    runs: int
    """How often the graph was run to find it."""

    def __str__(self) -> str:
        where = f"module {self.module!r}" if self.module else "the served module's own forward"
        return f"first departs at {self.operator} node {self.node!r} of {where} ({self.cell}): {self.cause}"


def find_culprit(served: Served, onnx_file: Path, grid: Grid) -> Culprit | None:
    """Name the node where the smallest failing cell of `grid` goes wrong; None where no node does or none failed."""
    failed = [cell for cell in grid.cells if not cell.passed]
    if not failed:
        return None
    # Examples first: in a tensor of equal numbers many faults do not show.
    cell = min(failed, key=lambda cell: (cell.inputs not in EXAMPLES, cell.batch, *cell.sizes.values()))
    model = onnx.load(onnx_file)
    by_name = {node.name: node for node in model.graph.node}
    if found := _FAILED_NODE.search(cell.reason):
        operator, name = found.groups()
        module = module_of(by_name[name]) if name in by_name else ""
        output = by_name[name].output[0] if name in by_name else ""
        return Culprit(operator, name, module, output, cell.where, FROZEN, 0)
    try:
        return _Search(served, model, cell).find()
    except Exception:  # a graph cut in pieces may fail to load or run, for ONNX Runtime's or the module's own reasons
        return None  # the proof failed already, and not knowing the node must not hide why


def module_of(node: onnx.NodeProto) -> str:
    """Path of the PyTorch module a node comes from."""
    return module_path(node.name, {entry.key: entry.value for entry in node.metadata_props})


class _Search:
    """Bisection for one cell."""

    def __init__(self, served: Served, model: onnx.ModelProto, cell: Cell) -> None:
        self.served, self.model, self.cell = served, model, cell
        self.inputs = run_inputs(served, cell_inputs(served, cell.batch, cell.sizes, cell.inputs, cell.item))
        self.runs = 0
        self.nodes = _ancestors(model.graph, cell.output)
        # Rows that differ from themselves run alone, while PyTorch agrees: then the module mixes them, and the graph
        # run on one row is the measure.
        self.mixes = "from PyTorch" not in cell.reason and "run alone" in cell.reason
        self.verdicts = self._as_alone if self.mixes else self._as_torch
        self.torch = None if self.mixes else TorchValues(served, self.inputs)

    def find(self) -> Culprit | None:
        lowest, end = -1, len(self.nodes) - 1
        if self._cut_is_right(end):  # exposing values keeps ONNX Runtime from fusing nodes, and the fault was there
            return None
        while True:
            wrong = self._bisect(lowest, end)
            # A cut that is right behind this one shows that PyTorch has no value to compare the node with.
            behind = [wrong + step for step in _LOOK_AHEAD if wrong + step < end]
            later = next((position for position in behind if self._cut_is_right(position)), None)
            if later is None:
                return self._describe(self.nodes[wrong])
            lowest = later

    def _bisect(self, right: int, wrong: int) -> int:
        """The position behind a right cut at which the cut is wrong."""
        while wrong - right > 1:
            middle = (right + wrong) // 2
            position, verdict = middle, self._cut_is_right(middle)
            while verdict is None and position - 1 > right:  # a cut that does not tell: the one before may
                position -= 1
                verdict = self._cut_is_right(position)
            if verdict is False:
                wrong = position
            else:
                right = middle
        return wrong

    def _cut_is_right(self, position: int) -> bool | None:
        """Whether all values computed up to `position` and read after it are right; None where none of them tells."""
        read = {name for node in self.nodes[position + 1 :] for name in node.input} | {self.cell.output}
        crossing = [name for node in self.nodes[: position + 1] for name in node.output if name in read]
        self.runs += 1
        verdicts = set(self.verdicts(self._run(crossing, self.inputs))) - {None}
        return all(verdicts) if verdicts else None

    def _run(self, names: list[str], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run_exposed(self.model, names, inputs)

    def _as_torch(self, values: Mapping[str, np.ndarray]) -> Iterator[bool | None]:
        assert self.torch is not None
        return (self.torch.knows(value) for value in values.values())

    def _as_alone(self, values: Mapping[str, np.ndarray]) -> Iterator[bool | None]:
        alone = self._run(list(values), {name: array[:1] for name, array in self.inputs.items()})
        return (_same_row(values[name], alone[name], self.cell.batch) for name in values)

    def _describe(self, node: onnx.NodeProto) -> Culprit:
        cause = MIXED if self.mixes else self._cause(node)
        return Culprit(
            node.op_type, node.name, module_of(node), node.output[0], self.cell.where, cause, self.runs
        )  # fmt: skip

    def _cause(self, node: onnx.NodeProto) -> str:
        parameters = dict(self.served.module.state_dict())
        for tensor in self.model.graph.initializer:
            if tensor.name in node.input and tensor.name in parameters:
                own, found = parameters[tensor.name].numpy(), onnx.numpy_helper.to_array(tensor)
                if own.shape == found.shape and (difference := distance(found, own)) > 0:
                    return f"its {tensor.name!r} differs from the module's by {difference:.3g}: the file was changed"
        if self._kernel_departs(node):
            return "ONNX Runtime computes this node otherwise than the ONNX standard does: report it to ONNX Runtime"
        return usual_cause(node.op_type)

    def _kernel_departs(self, node: onnx.NodeProto) -> bool:
        """Whether the node, given its own inputs, answers otherwise than ONNX's reference implementation."""
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        computed = [name for name in node.input if name and name not in constants and name not in self.inputs]
        try:
            values = self._run([*computed, node.output[0]], self.inputs)
            known = {**constants, **self.inputs, **values}
            opsets = {entry.domain: entry.version for entry in self.model.opset_import}
            answers = ReferenceEvaluator(node, opsets=opsets).run(
                None, {name: known[name] for name in node.input if name}
            )
            expected = np.asarray(next(iter(answers)))
        except Exception:  # no reference implementation of this operator: nothing can be said
            return False
        got = values[node.output[0]]
        return got.shape != expected.shape or distance(got, expected) > 10 * DEPARTURE * largest(expected)


def run_exposed(model: onnx.ModelProto, names: list[str], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The named values of a graph, whether they are its outputs or not.

    Raises:
        ConchError: ONNX Runtime does not load the graph.
    """
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    typed = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    del exposed.graph.output[:]
    exposed.graph.output.extend(typed.get(name) or onnx.ValueInfoProto(name=name) for name in names)
    return onnx_predict(exposed.SerializeToString())(inputs)


def _ancestors(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that `output` is computed from, in the graph's order, with those of weights alone first."""
    wanted, chosen = {output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            chosen.append(node)
    return chosen[::-1]


def _same_row(batch: np.ndarray, alone: np.ndarray, rows: int) -> bool | None:
    """Whether the first row of a batch is the row run alone, on whichever axis the batch is; None if it cannot tell."""
    if batch.ndim != alone.ndim:
        return False
    axes = [axis for axis in range(batch.ndim) if (batch.shape[axis], alone.shape[axis]) == (rows, 1)]
    first = batch.take([0], axes[0]) if axes else batch
    if first.shape != alone.shape:
        return False
    return distance(first, alone) <= DEPARTURE * largest(alone) if telling(alone) else None
