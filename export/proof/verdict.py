"""What a proof comes to, as an exit code and in a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.proof.cells import Grid
from export.proof.prove import Proof

PROVEN, WRONG, BAD_COMMAND, NOT_EXPORTED, UNVERIFIABLE = range(5)
WORDS = ("proven", "wrong", "bad command", "cannot be exported or served", "unverifiable")


@dataclass(frozen=True)
class Verdict:
    """One of the five."""

    code: int
    reason: str = ""
    """The first of its reasons; empty where it is proven."""

    @property
    def word(self) -> str:
        """In a word or three."""
        return WORDS[self.code]


def verdict_on(grid: Grid, further: Sequence[str] = ()) -> Verdict:
    """What a grid comes to.

    Args:
        grid: of one file.
        further: what failed beside it, a sentence each.
    """
    if wrong := [*grid.wrong, *further]:
        return Verdict(WRONG, wrong[0])
    if unproven := [*grid.unproven, *grid.undecided_said()]:
        return Verdict(UNVERIFIABLE, unproven[0])
    return Verdict(PROVEN)


def verdict_on_proof(proof: Proof) -> Verdict:
    """What the proof of an exporter's file comes to."""
    if proof.grid is None:
        return Verdict(NOT_EXPORTED, proof.failures[0])
    in_grid = proof.grid.failures
    return verdict_on(proof.grid, [failure for failure in proof.failures if failure not in in_grid])


def best(proofs: Sequence[Proof]) -> tuple[Proof, Verdict]:
    """The proof that came furthest: a file that may be right before a wrong one, and that before none."""
    judged = [(proof, verdict_on_proof(proof)) for proof in proofs]
    order = (PROVEN, UNVERIFIABLE, WRONG, NOT_EXPORTED)
    return min(judged, key=lambda pair: order.index(pair[1].code))
