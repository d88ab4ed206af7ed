"""How the cost of a start, a command, a request and an export grows: make bench-growth

Writes the section "growth" of docs/benchmarks.md and its picture; ten minutes on a machine that does nothing else.
Needs wrk and 12 GB of memory. Exit code 1: something grows faster than it may.

    python -m tests.bench.growth starts clients     only these, shown and not written
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from conch.command_line import ERR, OUT
from conch.command_line import run as run_command
from conch.contracts.whole import write_whole
from tests.bench.growth.curve import Curve
from tests.bench.growth.held_out import exports
from tests.bench.growth.page import PICTURE, draw, section
from tests.bench.growth.repositories import kept, starts
from tests.bench.growth.requests import clients, larger
from tests.bench.sections import write_section
from tests.bench.verdicts import Verdict, keep

DOCS = Path("docs")
Part = Literal["starts", "kept", "larger", "clients", "exports"]
PARTS: dict[Part, Callable[[Callable[[str], None]], list[Curve]]] = {
    "starts": starts, "kept": kept, "larger": larger, "clients": clients, "exports": exports,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    parts: Annotated[tuple[Part, ...], tyro.conf.Positional] = ()
    """All where none is given."""


def run(settings: Settings) -> int:
    """Measure, and write where all of it was measured."""
    load = os.getloadavg()[0]
    chosen = [part for part in PARTS if not settings.parts or part in settings.parts]
    curves = [
        curve for part in chosen for curve in PARTS[part](lambda said: ERR.print(said, style="dim", highlight=False))
    ]
    text = section(curves, load)
    OUT.print(text, markup=False, highlight=False, soft_wrap=True)
    if len(chosen) == len(PARTS):
        write_whole(DOCS / PICTURE, draw(curves).encode())
        write_section(DOCS / "benchmarks.md", "growth", text)
        keep("growth", [judged(curve) for curve in curves])
    return 0 if all(curve.met for curve in curves) else 1


def judged(curve: Curve) -> Verdict:
    """Not faster than it may."""
    required = f"an exponent of {curve.most} at most"
    return Verdict(f"{curve.name} by {curve.grows}", required, f"{curve.exponent:.2f}", curve.met)


if __name__ == "__main__":
    raise SystemExit(run_command(lambda: run(tyro.cli(Settings, prog="make bench-growth", description=__doc__))))
