"""What `conch check` found of one model, whatever it was held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from conch import command_line
from export.commands.documents import proof_document
from export.commands.tables import print_failure, print_grid, print_remarks, print_scores
from export.diagnosis.culprit import Culprit
from export.proof.cells import Grid
from export.proof.prove import Proof
from export.proof.verdict import PROVEN, Verdict
from export.publication.pipeline import ProofFailed


@dataclass(frozen=True)
class Checked:
    """One model's verdict, and what it rests on."""

    model: str
    source: str
    verdict: Verdict
    seconds: float
    reference: Mapping[str, Any] | None = None
    """What it was held against; None where nothing was run."""
    grid: Grid | None = None
    culprit: Culprit | None = None
    proof: Proof | None = None
    """Of what was exported anew: the file that came furthest."""
    rejected: Sequence[Proof] = ()
    """The other exporters that were tried."""
    told: Sequence[str] = field(default=())
    """How the command was read, a line each."""

    def as_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        shown = proof_document(self.proof) if self.proof else self._without_exporter()
        return {
            "model": self.model,
            "source": self.source,
            "verdict": self.verdict.word,
            "exit_code": self.verdict.code,
            "reason": self.verdict.reason or None,
            "seconds": round(self.seconds, 3),
            "reference": dict(self.reference) if self.reference else None,
            "told": list(self.told),
            "not_covered": self.grid.left_out() if self.grid else [],
            **shown,
            "rejected": [proof_document(proof) for proof in self.rejected],
        }

    def _without_exporter(self) -> dict[str, Any]:
        return {
            "exporter": None,
            "failures": self.grid.failures if self.grid else [self.verdict.reason],
            "culprit": str(self.culprit) if self.culprit else None,
            "unclean": [],
            "score": {"weights": [], "onnx": []},
            "parity": self.grid.as_json() if self.grid else None,
        }

    def show(self, screen: Console) -> None:
        """The tables and remarks, then the verdict: in green, or on standard error."""
        for line in self.told:
            screen.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
        if self.proof is None or not self.proof.failures:
            self._show_grid(screen)
        else:
            print_failure(screen, ProofFailed(self.model, [*self.rejected, self.proof]))
        if self.verdict.code == PROVEN:
            assert self.grid is not None
            screen.print(
                f"[green]proven[/]: {escape(self.source)} by {escape(self._by())}, {len(self.grid.cells)} cells, "
                f"largest difference {self.grid.worst():.2g} ({self.seconds:.1f} s)",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
        else:
            command_line.fail(f"{self.source}: {self.verdict.word}: {self.verdict.reason}")

    def _show_grid(self, screen: Console) -> None:
        if self.grid is None:
            return
        if self.grid.cells:
            print_grid(screen, self.grid)
        print_remarks(screen, self.grid, self.proof.unclean if self.proof else ())
        if self.proof:
            print_scores(screen, self.proof)
        if self.culprit:
            screen.print(f"[bold]{escape(str(self.culprit))}[/]", highlight=False, soft_wrap=True)

    def _by(self) -> str:
        reference = self.reference or {}
        return f"{reference.get('file', self.source)} ({self.grid.reference if self.grid else ''})"
