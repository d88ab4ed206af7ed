"""Show that an ONNX file of unknown origin loads and runs, and whether requests may share a run of it.

There is no PyTorch module to compare with. What can be shown: ONNX Runtime loads it, it answers on inputs of its
declared types and shapes, the same every time, and, where its first axis is to be the batch, a row's answer does not
depend on the rows beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from conch.contracts.comparison import EXACT, TOLERANCES, Comparison, compare
from conch.contracts.golden import golden_arrays
from serving.errors import ServingError
from serving.onnx_files.runtime_reason import runtime_reason
from serving.onnx_files.trial_inputs import Arrays, Maker, makers

BATCHES = (1, 2, 3, 7)
DEFAULT_MAX_BATCH = 32
GOLDEN_ROWS = 8


@dataclass(frozen=True)
class Trial:
    """What was shown of one file."""

    max_batch_size: int
    inputs: str
    """What it was run on."""
    repeatable: bool
    """Whether the same inputs gave the same outputs twice."""
    note: str
    """Why requests are not batched though the first axes are open; else empty."""
    runs: tuple[dict[str, Any], ...]
    """Batch (None without one), output shapes, and the largest difference of a row to the same row alone."""
    golden: Arrays
    """As `publish` takes them, in the shapes that the server answers with."""
    feeds: Arrays
    """The inputs of those, as the graph takes them."""
    doubts: tuple[str, ...] = ()
    """Why what it ran on shows little, a sentence each."""
    changes: tuple[str, ...] = ()
    """What was changed in the file beforehand, a sentence each."""


class _RowsDepend(Exception):
    """The first axis is no batch axis; the text says why."""


class _NoneRuns(Exception):
    """It ran on none of the inputs; the text says on which, why, and what to do."""

    def __init__(self, reason: str, given: bool) -> None:
        self.reason = reason
        super().__init__(
            f"on the inputs of --inputs-from: {reason}; their values or sizes are not what it takes, or it is damaged"
            if given
            else f"on generated inputs: {reason}; give real ones: --inputs-from data.npz, an array for each input"
        )


def try_model(
    session: onnxruntime.InferenceSession, where: str, max_batch: int | None, given: Arrays | None = None
) -> Trial:
    """Run a model that ONNX Runtime has loaded.

    Args:
        session: The model's, of an inspected file.
        where: Model and file, for messages.
        max_batch: The most rows of a batch, which the trial then has to bear out; None finds out whether there can be
            batches.
        given: An array for each input, as `check_inputs` returns them; None generates them.

    Raises:
        ServingError: It does not run, or has no batch axis where one is asked for.
    """
    inputs = tuple(session.get_inputs())
    note = ""
    if max_batch != 0:
        try:
            _check_open(inputs, session.get_outputs())
            maker = _first_that_runs(session, makers(inputs, given), 2)
            return _batched(session, maker, max_batch or DEFAULT_MAX_BATCH)
        except _NoneRuns as none:
            if max_batch:
                raise ServingError(f"{where} loads, but does not run in batches {none}") from none
            note = f"it does not run on a batch of 2 ({none.reason})"
        except _RowsDepend as reason:
            if max_batch:
                raise ServingError(
                    f"{where} cannot be served in batches: {reason}; use --max-batch 0, or export it again with the "
                    "batch as first axis of all inputs and outputs"
                ) from reason
            note = str(reason)
    try:
        return _unbatched(session, _first_that_runs(session, makers(inputs, given), None), note)
    except _NoneRuns as none:
        raise ServingError(f"{where} loads, but does not run {none}") from none


def _check_open(inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Raise _RowsDepend where the declaration leaves no room for a batch."""
    if not inputs:
        raise _RowsDepend("it has no inputs")
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            if not tensor.shape:
                fix = f"; --fix {tensor.name}=VALUE makes it a constant" if kind == "input" else ""
                raise _RowsDepend(f"{kind} {tensor.name!r} is a single number, without a first axis{fix}")
            if isinstance(tensor.shape[0], int):
                raise _RowsDepend(
                    f"the first axis of {kind} {tensor.name!r} is fixed to {tensor.shape[0]}{_way_out(tensor)}"
                )


def _way_out(tensor: Any) -> str:
    """What to do about a first axis of fixed length, where there is one likely reading."""
    opened = [axis for axis, size in enumerate(tensor.shape) if not isinstance(size, int)]
    if tensor.shape[0] == 1:
        return ", as it was exported for one row; export it again with a dynamic batch"
    if len(opened) == 1:  # of several, heights and widths are more likely than batches
        return f"; if axis {opened[0]} is the batch: --batch-axis {tensor.name}={opened[0]}"
    return ""


def _first_that_runs(session: onnxruntime.InferenceSession, kinds: Iterator[Maker], rows: int | None) -> Maker:
    """The first inputs that give every output something; where none do, the first that run. Raises _NoneRuns."""
    given = False
    failure: Exception | None = None
    empty: Maker | None = None
    for maker in kinds:
        given = maker.given is not None
        if not maker.fits_memory(rows) or (empty and not maker.is_larger(empty)):
            continue
        try:
            outputs = _run(session, maker.make(rows))
        except Exception as error:  # whatever this input provokes; the next may run
            failure = failure or error
            continue
        if all(array.size for array in outputs.values()):
            return maker
        empty = empty or maker
    if empty:
        return empty
    raise _NoneRuns(runtime_reason(failure) if failure else "its inputs are too large to generate", given) from failure


def _batched(session: onnxruntime.InferenceSession, maker: Maker, max_batch: int) -> Trial:
    runs = []
    for rows in sorted({rows for rows in (*BATCHES, max_batch) if rows <= max_batch}):
        feeds = maker.make(rows)
        try:
            outputs, again = _run(session, feeds), _run(session, feeds)
        except Exception as error:  # that one batch ran does not mean that all do
            raise _RowsDepend(f"it does not run on a batch of {rows} ({runtime_reason(error)})") from error
        if not _same(outputs, again):
            raise _RowsDepend("its answers to the same inputs differ, so that rows cannot be compared")
        runs.append({"batch": rows, "outputs": _shapes(outputs), "alone": _compare_rows(session, feeds, outputs, rows)})
    feeds = maker.make(min(max_batch, GOLDEN_ROWS))
    outputs = _run(session, feeds)
    doubts = _doubts(session, maker, outputs)
    golden = golden_arrays(feeds, outputs)
    return Trial(max_batch, maker.described, True, "", tuple(runs), golden, feeds, doubts)


def _compare_rows(session: onnxruntime.InferenceSession, feeds: Arrays, outputs: Arrays, rows: int) -> float:
    """The largest difference of the first, middle and last row to the same row run alone."""
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise _RowsDepend(f"output {name!r} has shape {list(array.shape)} for a batch of {rows}")
    largest = 0.0
    for row in sorted({0, rows // 2, rows - 1}):
        alone = _run(session, {name: array[row : row + 1] for name, array in feeds.items()})
        for name, array in outputs.items():
            difference, agrees = _compare(array[row : row + 1], alone[name])
            if not agrees:
                raise _RowsDepend(f"output {name!r} of row {row} in a batch of {rows} is not that of the row alone")
            largest = max(largest, difference)
    return largest


def _unbatched(session: onnxruntime.InferenceSession, maker: Maker, note: str) -> Trial:
    feeds = maker.make(None)
    outputs, again = _run(session, feeds), _run(session, feeds)
    runs = ({"batch": None, "outputs": _shapes(outputs), "alone": None},)
    repeatable = _same(outputs, again)
    one_item = ({name: array[np.newaxis] for name, array in arrays.items()} for arrays in (feeds, outputs))
    doubts = _doubts(session, maker, outputs)
    return Trial(0, maker.described, repeatable, note, runs, golden_arrays(*one_item), feeds, doubts)


def _doubts(session: onnxruntime.InferenceSession, maker: Maker, outputs: Arrays) -> tuple[str, ...]:
    """Why this run shows little. What runs nowhere else runs on an image of one pixel, or on nothing but zeros."""
    if maker.given is not None:
        return ()
    found = [maker.doubt] if maker.doubt else []
    for output in session.get_outputs():
        array = outputs[output.name]
        if array.size == 0 and 0 not in output.shape:
            found.append(f"its output {output.name!r} came empty")
        elif array.dtype.kind == "f" and array.size and np.isnan(array).all():
            found.append(f"its output {output.name!r} is nothing but NaN")
    return tuple(found)


def _run(session: onnxruntime.InferenceSession, feeds: Arrays) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, (np.asarray(answer) for answer in session.run(names, feeds)), strict=True))


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return all(_compare(one[name], other[name])[1] for name in one)


def _compare(got: np.ndarray, expected: np.ndarray) -> Comparison:
    return compare(got, expected, TOLERANCES.get(got.dtype.name, EXACT))


def _shapes(outputs: Arrays) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in outputs.items()}
