"""What each benchmark found of the floors that it holds, kept for the page of `make bench`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conch.contracts.artifacts import artifacts_folder
from tests.bench.store import read, write


@dataclass(frozen=True)
class Verdict:
    """A floor, what was measured, and whether that is enough."""

    what: str
    required: str
    measured: str
    met: bool


def folder() -> Path:
    """Where the verdicts lie, and the page."""
    return artifacts_folder() / "bench"


def keep(bench: str, verdicts: Iterable[Verdict]) -> None:
    """Keep those of a benchmark that was measured to its end."""
    folder().mkdir(parents=True, exist_ok=True)
    write(folder() / f"{bench}.json", {"verdicts": [asdict(verdict) for verdict in verdicts]})


def kept(bench: str) -> list[Verdict] | None:
    """What the benchmark kept last; None where it kept nothing.

    Raises:
        ConchError: the file is damaged.
    """

    def verdicts(content: dict[str, Any]) -> list[Verdict]:
        return [Verdict(**verdict) for verdict in content["verdicts"]]

    return read(folder() / f"{bench}.json", verdicts, "make bench")
