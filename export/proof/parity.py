"""The parity grid: ONNX Runtime against PyTorch on batches, lengths and inputs that the export never saw.

Another reference (`reference.py`) may stand in PyTorch's place.

Every cell is one run. It asks of each output, and of each row of the batch run alone, whether it is the right answer
(`budget.judge`), and of each shape whether it is the declared one. A batch whose rows influence each other, an axis
frozen at the example's size or a state that leaks fails here, where a single example would have passed. What PyTorch
itself refuses is no cell, and values for which PyTorch has more than one answer are not judged (`ambiguity.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from conch.contracts.comparison import compare
from conch.contracts.errors import ConchError
from export.conversion.convert import example_inputs
from export.proof.ambiguity import Answers
from export.proof.budget import WORSE, WRONG, Errors, OutputBudget, as_exact_as, judge, largest, tolerance
from export.proof.cells import EXAMPLES, Cell, Grid, where
from export.proof.pace import Pace
from export.proof.plan import Plan, Planned
from export.proof.reference import ModuleReference, Reference
from export.proof.runtime import onnx_predict
from export.proof.signature import check_signature
from export.proof.subject import Subject
from serving.onnx_files.runtime_reason import runtime_reason
from training.predict import in_batches
from training.recipe import Predict, Served, Tensor

BATCHES = (1, 2, 3, 7)
ALONE = 3
"""Examples of a kind that a model without batches is run on, one after the other."""

Arrays = dict[str, np.ndarray]


def parity_grid(
    served: Subject,
    onnx_file: Path,
    predict: Predict | None = None,
    reference: Reference | None = None,
    pace: Pace | None = None,
) -> Grid:
    """Run every cell; a failing run fails its cells and the others still run.

    Args:
        served: the model; without a `reference` a `Served`, on the CPU.
        onnx_file: what was exported of it.
        predict: what runs the file; without, ONNX Runtime on the CPU.
        reference: who says what is right; without, the served module by PyTorch.
        pace: told of every run; where its time is over nothing more is run, and the grid says what was left out.
    """
    if reference is None:
        assert isinstance(served, Served)
        reference = ModuleReference(served)
        signature = tuple(check_signature(served, onnx.load(onnx_file, load_external_data=False)))
    else:  # the file's own names and types are the subject's
        signature = ()
    predict = predict or onnx_predict(onnx_file)
    programs = _Programs(reference, predict if served.batched else in_batches(predict, 0))
    cells: list[Cell] = []
    refused: list[str] = []
    decided = _Decided(served)
    plan = Plan(_runs(served, reference), pace or Pace(), served.name)
    for planned in plan:
        run = _made(served, reference, planned)
        try:
            found, expected = _cells(served, programs, run, settle=all(cell.passed for cell in cells))
        except _Refused as refusal:
            refused.append(f"{run.where}: {refusal}")
            continue
        cells += found
        decided.see(run, expected)
    cells.sort(key=lambda cell: cell.batch)
    budget = tuple(
        _output_budget(tensor, [cell for cell in cells if cell.output == tensor.name], reference.called)
        for tensor in served.outputs
    )
    reasons = {dtype: own.reason for dtype, own in served.tolerance.items()}
    return Grid(
        tuple(cells), signature, budget, reference.no_float64, reasons, tuple(refused),
        reference.called, plan.left_out(), decided.undecided(),
    )  # fmt: skip


def grid_sizes(served: Subject) -> Iterator[tuple[int, dict[str, int]]]:
    """Every batch, the largest first, with every combination of the other symbolic axes' sizes."""
    largest = served.largest_batch or 1
    batches = sorted({batch for batch in (*BATCHES, largest) if batch <= largest})[::-1]
    names = list(served.sizes)
    for batch in batches:
        for combination in itertools.product(*served.sizes.values()):
            yield batch, dict(zip(names, combination, strict=True))


def _runs(served: Subject, reference: Reference) -> list[Planned]:
    """Every cell's run; made-up inputs only where the reference can answer them."""
    kinds = [*example_kinds(served)]
    if not reference.recorded and all(np.dtype(tensor.dtype).kind != "O" for tensor in served.inputs):
        kinds += ["low", "high"]
    return [
        Planned(batch, sizes, kind, item)
        for batch, sizes in grid_sizes(served)
        for kind in kinds
        for item in range(1 if reference.recorded else _items(served, kind))
    ]


def _made(served: Subject, reference: Reference, planned: Planned) -> _Run:
    """The run with its inputs: of answers that were recorded all, else so many rows as the batch has."""
    rows = len(next(iter(served.examples.values()))) if reference.recorded else planned.batch
    inputs = cell_inputs(served, rows, planned.sizes, planned.kind, planned.item)
    return _Run(planned.batch, planned.sizes, planned.kind, inputs, planned.item)


def example_kinds(served: Subject) -> tuple[str, ...]:
    """What the examples of a served module are: "real", "random", or some of each."""
    items = len(next(iter(served.examples.values())))
    real = items if served.real_examples is None else served.real_examples
    return tuple(kind for kind, number in zip(EXAMPLES, (real, items - real), strict=True) if number)


def _items(served: Subject, kind: str) -> int:
    """How many runs a kind of inputs gets: of a model without batches several, each with an item."""
    if served.batched or kind not in EXAMPLES:
        return 1
    return min(ALONE, len(next(iter(_of_kind(served, kind).values()))))


def _of_kind(served: Subject, kind: str) -> Arrays:
    """The examples that are "real" or "random"; all for other kinds."""
    real = slice(served.real_examples) if kind == "real" else slice(served.real_examples or 0, None)
    return {name: array[real] if kind in EXAMPLES else array for name, array in served.examples.items()}


def cell_inputs(served: Subject, batch: int, sizes: dict[str, int], kind: str, item: int = 0) -> Arrays:
    """Inputs of a cell: example rows from `item` on, or arrays of nothing but the lowest or highest value."""
    chosen = {name: array[item:] for name, array in _of_kind(served, kind).items()}
    examples = example_inputs(served, batch, sizes, chosen)
    if kind in EXAMPLES:
        return examples
    bounds = {tensor.name: tensor.low if kind == "low" else tensor.high for tensor in served.inputs}
    return {name: np.full_like(array, bounds[name]) for name, array in examples.items()}


class _Refused(ConchError):
    """The reference refuses the inputs."""


@dataclass(frozen=True)
class _Run:
    batch: int
    sizes: dict[str, int]
    kind: str
    inputs: Arrays
    """Of `batch` rows; of all that were recorded, which are run in batches of that."""
    item: int

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def made_up(self) -> bool:
        return self.kind != "real"

    @property
    def alone(self) -> list[Arrays]:
        """Rows to be run alone; where all are alike they prove nothing against each other, so the first stands."""
        rows = range(self.batch) if self.kind in EXAMPLES else range(1)
        return [{name: array[row : row + 1] for name, array in self.inputs.items()} for row in rows]

    @property
    def where(self) -> str:
        return where(self.batch, self.sizes, self.kind, self.item)


class _Decided:
    """Which outputs were seen to differ between examples of one size by more than is allowed: one answer to everything
    would pass as the others."""

    def __init__(self, served: Subject) -> None:
        self._served = served
        self._first: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}
        self._decided: set[str] = set()

    def see(self, run: _Run, expected: Arrays) -> None:
        if run.kind not in EXAMPLES:
            return
        for tensor in self._served.outputs:
            rows = expected[tensor.name]
            if not rows.ndim or not len(rows):
                continue
            first = self._first.setdefault((tensor.name, tuple(run.sizes.values())), rows[:1])
            allowed = tolerance(tensor, self._served.tolerance)
            each = (rows[row : row + 1] for row in range(len(rows)))
            if tensor.name not in self._decided and not all(compare(row, first, allowed).agrees for row in each):
                self._decided.add(tensor.name)

    def undecided(self) -> tuple[str, ...]:
        """Where some of the examples are made up; real ones are what clients send."""
        if EXAMPLES[1] not in example_kinds(self._served):
            return ()
        return tuple(tensor.name for tensor in self._served.outputs if tensor.name not in self._decided)


class _Programs:
    """The reference, its float64 and ONNX Runtime."""

    def __init__(self, reference: Reference, onnx: Predict) -> None:
        self.onnx = onnx
        self.reference = reference
        self._exact: dict[tuple[str, int, tuple[int, ...]], Arrays] = {}

    def expected(self, run: _Run) -> Arrays:
        """The reference's answers. Raises _Refused."""
        try:
            return self.reference.answers(run.inputs)
        except Exception as error:  # whatever it raises: a mask of nothing, a singular matrix
            kind = "" if isinstance(error, ConchError) else f"{type(error).__name__}: "
            raise _Refused(f"{self.reference.called} refuses them ({kind}{_one_line(error)})") from error

    def exact(self, run: _Run) -> Arrays:
        """Float64's answers; of no output where it has none.

        Float64 is slow and rows are independent (each is compared with itself alone): the largest batch, first in a
        grid without a limit of time, has the rows of all others.
        """
        key = (run.kind, run.item, tuple(run.sizes.values()))
        if run.kind not in EXAMPLES:
            if key not in self._exact:
                self._exact[key] = self.reference.exact(run.alone[0])
        elif any(len(array) < run.rows for array in self._exact.get(key, {"": ()}).values()):
            self._exact[key] = self.reference.exact(run.inputs)
        return {name: _rows(array, run.rows) for name, array in self._exact[key].items()}


def _rows(array: np.ndarray, batch: int) -> np.ndarray:
    """The first `batch` rows; one row stands for as many that are alike."""
    return np.repeat(array, batch, 0) if len(array) == 1 else array[:batch]


def _cells(served: Subject, programs: _Programs, run: _Run, settle: bool) -> tuple[list[Cell], Arrays]:
    """The cells of one run, and what the reference answers. Raises _Refused.

    Args:
        settle: whether to look for values without a single answer where one is wrong.
    """
    expected, exact = programs.expected(run), programs.exact(run)
    try:
        got = in_batches(programs.onnx, run.batch)(run.inputs)
        alone = [programs.onnx(row) for row in run.alone]
    except Exception as error:  # whatever ONNX Runtime raises is this run's failure
        reason = f"the run failed: {runtime_reason(error)}"
        return [_blank(served, tensor, run, reason) for tensor in served.outputs], expected
    called = programs.reference.called
    answers = [
        _Answer(tensor, got[tensor.name], [row[tensor.name] for row in alone], expected[tensor.name],
                exact.get(tensor.name), tolerance(tensor, served.tolerance), called, run.rows, served.batched)
        for tensor in served.outputs
    ]  # fmt: skip
    cells = [_judge(_blank(served, answer.tensor, run), answer) for answer in answers]
    if all(cell.passed for cell in cells) or not settle:
        return cells, expected
    known = {answer.tensor.name: Answers(answer.expected, answer.jump, run.made_up) for answer in answers}

    def settled() -> list[Cell]:
        return [_judge(_blank(served, answer.tensor, run), answer, known[answer.tensor.name]) for answer in answers]

    enough = lambda: all(cell.passed for cell in settled())  # noqa: E731
    programs.reference.add_other_answers(run.inputs, known, enough, run.made_up)
    return settled(), expected


def _blank(served: Subject, tensor: Tensor, run: _Run, reason: str = "") -> Cell:
    allowed = tolerance(tensor, served.tolerance)
    return Cell(run.batch, run.sizes, run.kind, tensor.name, np.nan, np.nan, allowed, False, reason, item=run.item)


@dataclass(frozen=True)
class _Answer:
    """One output of one run, as everybody answered it."""

    tensor: Tensor
    got: np.ndarray
    alone: Sequence[np.ndarray]
    expected: np.ndarray
    exact: np.ndarray | None
    allowed: tuple[float, float]
    called: str
    """Who answered `expected`."""
    rows: int
    """Of all that was sent."""
    batched: bool

    @property
    def declared(self) -> tuple[int | str, ...]:
        """The shape with an axis of items in front, which one served without batches lacks."""
        return self.tensor.shape if self.batched else (self.rows, *self.tensor.shape)

    @property
    def jump(self) -> float:
        """What is more than rounding, in the output's own unit."""
        absolute, relative = self.allowed
        errors = judge(self.got, self.expected, self.exact, self.allowed, self.tensor.dtype).errors
        return float(np.fmax(absolute + relative * largest(self.expected), 2 * errors.allowed(self.tensor.dtype)))

    def rows_alone(self) -> np.ndarray:
        """Joined; of another shape than the rows of the batch where they are."""
        same = len({row.shape for row in self.alone}) == 1
        return np.concatenate(self.alone) if same else np.empty(0, self.got.dtype)


def _judge(cell: Cell, answer: _Answer, known: Answers | None = None) -> Cell:
    """The cell with its differences and errors, and what is wrong with them.

    Args:
        known: all answers of PyTorch's, where they were looked for.
    """
    got, alone, expected, exact = answer.got, answer.rows_alone(), answer.expected, answer.exact
    cell = replace(cell, elements=expected.size)
    if known is not None and known.jumps.any():
        cell = replace(cell, ambiguous=int(known.jumps.sum()))
        if known.shapes_vary:
            return replace(cell, difference=0.0, alone=0.0, passed=True)
        got, alone = known.settled(got), known.settled(alone)
        if exact is not None and exact.shape == expected.shape:
            exact = np.where(known.jumps, expected, exact)
    rows = len(alone)
    if reason := _wrong_shape(cell, answer):
        return replace(cell, reason=reason)
    judged = judge(got, expected, exact, answer.allowed, answer.tensor.dtype)
    same = compare(alone, got[:rows], answer.allowed)
    rows_exact = None if exact is None else exact[:rows]
    reasons = [] if judged.right else [f"differs from {answer.called} by {judged.difference:.3g}"]
    if not same.agrees and not judge(alone, expected[:rows], rows_exact, answer.allowed, answer.tensor.dtype).right:
        reasons.append(f"a row differs by {same.difference:.3g} from the same row run alone")
    errors = judged.errors
    return replace(
        cell, difference=judged.difference, alone=same.difference, passed=not reasons, reason="; ".join(reasons),
        error=errors.onnx, torch_error=errors.torch, scale=errors.scale,
    )  # fmt: skip


def _wrong_shape(cell: Cell, answer: _Answer) -> str:
    got, expected, declared = answer.got.shape, answer.expected.shape, answer.declared
    if got != expected:
        return f"shape is {list(got)}, that of {answer.called} is {list(expected)}"
    sizes = {"batch": answer.rows} | cell.sizes
    # A name that no input has stands for any size: half of another axis has no name of its own.
    if len(got) != len(declared) or any(
        size != (sizes.get(want, size) if isinstance(want, str) else want)
        for size, want in zip(got, declared, strict=True)
    ):
        return f"shape is {list(got)}, declared is {list(declared)}"
    return ""


def _output_budget(tensor: Tensor, cells: list[Cell], called: str) -> OutputBudget:
    """Judge an output by its largest errors over all cells, each relative to the values of its own cell."""
    measured = [cell for cell in cells if np.isfinite(cell.error)]
    if not measured:
        where = cells[0].where if cells else "no run"
        return OutputBudget(tensor.name, WRONG, np.nan, np.nan, np.nan, "float32", where)
    worst = max(measured, key=lambda cell: cell.error / (cell.scale or 1.0))
    # PyTorch's worst in the unit of that cell: a lucky cell of PyTorch's does not make ONNX Runtime's worse.
    relative = max((cell.torch_error / (cell.scale or 1.0) for cell in measured), default=np.nan)
    errors = Errors(worst.error, relative * (worst.scale or 1.0), worst.scale)
    verdict = as_exact_as(called) if errors.as_exact(tensor.dtype) else WORSE
    if not all(cell.passed for cell in cells):
        verdict = WRONG
    known = bool(np.isfinite(errors.torch))
    return OutputBudget(
        tensor.name, verdict, errors.onnx, errors.torch, errors.allowed(tensor.dtype),
        "float64" if known else "float32", worst.where,
    )  # fmt: skip


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
