"""The table of what was tried."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.precision.gate import THREADS, Try
from export.precision.variant import Variant
from serving.rollout.going_live import how_to_go_live


def print_variant(console: Console, variant: Variant, seconds: float) -> None:
    """A first line where it is slower than fp32; what was tried, and a line of result."""
    chosen = variant.chosen
    if chosen.speedup < 1:
        console.print(
            f"[yellow]{variant.name} is slower than fp32 on this machine: {chosen.speedup:.2f} times as fast "
            f"(largest batch, {THREADS} thread; one row {chosen.speedup_alone:.2f})"
            + ("; fp16 is for GPUs" if variant.precision == "fp16" else "") + "[/]",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    print_tries(console, variant.name, variant.tries, chosen)
    console.print(
        f"[green]{variant.name}[/]: {chosen.method}, {chosen.size_ratio:.2f} of fp32's bytes, {chosen.speedup:.2f} "
        f"times as fast ({seconds:.1f} s), judged by {escape(variant.judged_by)} -> {variant.version}",
        highlight=False,
    )
    if step := how_to_go_live(variant.version):
        console.print(f"  {step}", highlight=False)
    for sentence in (*chosen.cannot_tell, *variant.remarks):
        console.print(f"[yellow]  {escape(sentence)}[/]", highlight=False, soft_wrap=True)
    for name in chosen.kept:
        console.print(f"  in fp32: {name}", highlight=False)


def print_tries(console: Console, name: str, tries: Sequence[Try], chosen: Try | None = None) -> None:
    """One line a try; the speed is against fp32 on the largest batch and on one row, with one thread."""
    table = Table(title=f"{name}: what was tried (speed against fp32, largest batch, {THREADS} thread)")
    for column in ("method", "in fp32"):
        table.add_column(column)
    for metric in next((one.score for one in tries if one.score), ()):
        table.add_column(f"{metric.name} {metric.unit}".rstrip(), justify="right")
    for column in ("bytes", "size", "speed", "one row"):
        table.add_column(column, justify="right")
    table.add_column("gate")
    for one in tries:
        verdict = (
            "[green]published[/]"
            if one is chosen
            else "passed"
            if not one.failures
            else f"[red]{escape(one.failures[0])}[/]"
        )
        scores = [f"{metric.value:.4f}" for metric in one.score] or ["-"] * (len(table.columns) - 7)
        table.add_row(
            one.method,
            str(len(one.kept)),
            *scores,
            f"{one.size:,}",
            f"{one.size_ratio:.3f}",
            f"{one.speedup:.2f}",
            f"{one.speedup_alone:.2f}",
            verdict,
        )
    console.print(table)
