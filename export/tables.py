"""What an export shows in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from export.parity import Cell
from export.pipeline import Exported, ProofFailed


def print_exported(console: Console, exported: Exported, seconds: float) -> None:
    """A line of result, a line for each score, and why an exporter was passed over."""
    proof = exported.proof
    assert proof.grid is not None
    for rejected in exported.rejected:
        console.print(f"[yellow]{exported.served.name}: {rejected.exporter} was passed over: {rejected.failures[0]}[/]")
    console.print(
        f"[green]{exported.served.name}[/]: {len(proof.grid.cells)} cells of parity passed, largest difference "
        f"{proof.grid.worst():.2g} ({proof.exporter} exporter, {seconds:.1f} s) -> {exported.version}",
        highlight=False,
    )
    for one, other in zip(proof.weights_score, proof.onnx_score, strict=True):
        console.print(f"  {one.name}: weights {one}, ONNX {other}", highlight=False)


def print_failure(console: Console, failed: ProofFailed) -> None:
    """The cells that failed, an exporter a table."""
    for proof in failed.proofs:
        if proof.grid is None or not any(not cell.passed for cell in proof.grid.cells):
            for failure in proof.failures:
                console.print(f"[red]{proof.exporter}: {failure}[/]", highlight=False)
            continue
        bad = [cell for cell in proof.grid.cells if not cell.passed]
        for sentence in proof.grid.signature:
            console.print(f"[red]{proof.exporter}: {sentence}[/]", highlight=False)
        console.print(_table(f"{proof.exporter}: {len(bad)} of {len(proof.grid.cells)} cells failed", bad[:20]))


def _table(title: str, cells: list[Cell]) -> Table:
    table = Table("batch", "sizes", "inputs", "output", "difference", "tolerance", "reason", title=title)
    for cell in cells:
        table.add_row(
            str(cell.batch),
            " ".join(f"{name} {size}" for name, size in cell.sizes.items()) or "-",
            cell.inputs,
            cell.output,
            f"{cell.difference:.3g}",
            "{:g} + {:g} x".format(*cell.tolerance),
            cell.reason,
        )
    return table
