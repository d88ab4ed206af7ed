"""What an export shows in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.proof.budget import WORSE, OutputBudget, is_as_exact
from export.proof.cells import EXAMPLES, Cell, Grid, label
from export.proof.prove import Proof
from export.publication.pipeline import Exported, ProofFailed
from serving.rollout.going_live import how_to_go_live

REASONS_SHOWN = 5
REMARKS_SHOWN = 3


def print_exported(console: Console, exported: Exported, seconds: float) -> None:
    """The grid and the budget, a line of result, a line for each score, and why an exporter was passed over."""
    proof = exported.proof
    assert proof.grid is not None
    for rejected in exported.rejected:
        reason = escape(rejected.failures[0])
        console.print(f"[yellow]{exported.served.name}: {rejected.exporter} was passed over: {reason}[/]")
        if rejected.culprit:
            console.print(f"[yellow]  {escape(str(rejected.culprit))}[/]", highlight=False)
    console.print(grid_table(proof.grid, exported.served.name))
    print_budget(console, proof.grid)
    print_remarks(console, proof.grid, proof.unclean)
    console.print(
        f"[green]{exported.served.name}[/]: {len(proof.grid.cells)} cells of parity passed, largest difference "
        f"{proof.grid.worst():.2g} ({proof.exporter} exporter, {seconds:.1f} s) -> {exported.version}",
        highlight=False,
    )
    if chain := proof.chain:
        console.print(
            f"  {chain.sequences} sequences of {chain.steps} steps from zero states: largest difference to the whole "
            f"sequences {max(chain.differences.values()):.2g}",
            highlight=False,
        )
    print_scores(console, proof)
    if step := how_to_go_live(exported.version):
        console.print(f"  {step}", highlight=False)


def print_scores(console: Console, proof: Proof) -> None:
    """A line for each metric of a recipe."""
    for one, other in zip(proof.weights_score, proof.onnx_score, strict=True):
        console.print(f"  {one.name}: weights {one}, ONNX {other}", highlight=False)


def print_failure(console: Console, failed: ProofFailed) -> None:
    """What every exporter that was tried failed on."""
    for proof in failed.proofs:
        console.print(f"[red]{proof.exporter} exporter[/]", highlight=False)
        print_proof(console, proof)


def print_proof(console: Console, proof: Proof) -> None:
    """The grid, the budget, the first reasons and the culprit."""
    if proof.grid is not None:
        print_grid(console, proof.grid)
        print_remarks(console, proof.grid, proof.unclean)
        if failed := sum(not cell.passed for cell in proof.grid.cells):
            console.print(f"[red]{failed} of {len(proof.grid.cells)} cells failed[/]", highlight=False)
    for failure in proof.failures[:REASONS_SHOWN]:
        console.print(f"[red]{escape(failure)}[/]", highlight=False)
    if len(proof.failures) > REASONS_SHOWN:
        console.print(f"[red]and {len(proof.failures) - REASONS_SHOWN} more[/]", highlight=False)
    if proof.culprit:
        console.print(f"[bold]{escape(str(proof.culprit))}[/]", highlight=False)
        console.print(f"  found in {proof.culprit.runs} runs of the graph", highlight=False)
    elif proof.grid is not None and not all(cell.passed for cell in proof.grid.cells):
        console.print(f"[bold]{_without_culprit(proof.grid)}[/]", highlight=False)


def _without_culprit(grid: Grid) -> str:
    """What it is where no node is to blame."""
    failed = [cell for cell in grid.cells if not cell.passed]
    if all("run alone" in cell.reason and "from PyTorch" not in cell.reason for cell in failed):
        return "the graph does what PyTorch does, and in both the rows of a batch influence each other"
    return (
        "no single node departs once its value is exposed: rounding that adds up over many nodes, or a fusion that "
        "ONNX Runtime makes only where nothing is exposed"
    )


def print_grid(console: Console, grid: Grid) -> None:
    """The differences and the budget."""
    console.print(grid_table(grid, escape(f"largest difference to {grid.reference}")))
    print_budget(console, grid)


def grid_table(grid: Grid, title: str) -> Table:
    """Rows of output, inputs and sizes, a column a batch, the largest difference to PyTorch in each."""
    batches = sorted({cell.batch for cell in grid.cells})
    rows: dict[tuple[str, str, str], dict[int, Cell]] = {}
    for cell in grid.cells:
        sizes = " ".join(f"{name} {size}" for name, size in cell.sizes.items())
        rows.setdefault((cell.output, sizes, label(cell.inputs, cell.item)), {})[cell.batch] = cell
    sized = any(sizes for _, sizes, _ in rows)
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in ("output", *(["sizes"] if sized else []), "inputs"):
        table.add_column(column, no_wrap=True)
    for batch in batches:
        table.add_column(f"batch {batch}", justify="right", no_wrap=True)
    for (output, sizes, inputs), cells in rows.items():
        # Of a long grid what passes on examples and what fails is shown; parity.json and the report have it all.
        if sized and inputs.split()[0] not in EXAMPLES and all(cell.passed for cell in cells.values()):
            continue
        table.add_row(output, *([sizes] if sized else []), inputs, *(_difference(cells.get(b)) for b in batches))
    return table


def print_budget(console: Console, grid: Grid) -> None:
    """Each output's errors and verdict, and why a tolerance is the recipe's own; nothing of what has to be equal."""
    if not grid.budget:
        return
    float32 = "PyTorch's float32" if grid.reference == "PyTorch" else grid.reference
    title = escape(f"largest error to {float32 if grid.no_float64 else 'float64'}")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in ("output", "ONNX", escape(grid.reference), "allowed", "verdict"):
        table.add_column(column, no_wrap=True)
    for entry in grid.budget:
        colour = "green" if is_as_exact(entry.verdict) else "yellow" if entry.verdict == WORSE else "red"
        table.add_row(entry.output, *_numbers(entry), f"[{colour}]{entry.verdict}[/]")
    console.print(table)
    if grid.no_float64:
        said = f"measured against {float32}, not float64: {grid.no_float64}"
        console.print(f"  {escape(said)}", highlight=False)
    for dtype, reason in grid.tolerance_reasons.items():
        console.print(f"  the recipe's own tolerance of {dtype}: {escape(reason)}", highlight=False)


def print_remarks(console: Console, grid: Grid, unclean: Sequence[str]) -> None:
    """What the grid did not judge and why, and what is not clean in the graph; the first of each."""
    for title, sentences in (("not judged", grid.left_out()), ("the graph is not clean", unclean)):
        for sentence in sentences[:REMARKS_SHOWN]:
            console.print(f"[yellow]  {title}: {escape(sentence)}[/]", highlight=False, soft_wrap=True)
        if len(sentences) > REMARKS_SHOWN:
            console.print(f"  and {len(sentences) - REMARKS_SHOWN} more", highlight=False)


def _difference(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.elements and cell.ambiguous == cell.elements:
        return "-"
    text = "failed" if math.isnan(cell.difference) else f"{cell.difference:.1e}" if cell.difference else "0"
    return text if cell.passed else f"[red]{text}[/]"


def _numbers(entry: OutputBudget) -> Iterable[str]:
    return (
        "-" if math.isnan(value) else f"{value:.2g}" for value in (entry.onnx_error, entry.torch_error, entry.allowed)
    )
