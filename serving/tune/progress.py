"""What a search has found so far, on disk, so that it can be interrupted and go on."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conch.contracts.whole import write_whole
from serving.errors import ServingError
from serving.tune.candidates import Candidate
from serving.tune.load import Point

Results = dict[Candidate, list[Point]]


@dataclass
class Progress:
    """One search. `key` is what it was about: another model file, configuration, promise or machine is another one."""

    key: str
    searched: Results = field(default_factory=dict)
    """No points: the candidate cannot be served."""
    reasons: dict[Candidate, str] = field(default_factory=dict)
    """Why a candidate has no points."""
    search_ended: bool = False
    """By itself, and not by the time."""
    search_seconds: float = 0.0
    """Spent on the search, in this and earlier runs."""
    rounds: Results = field(default_factory=dict)
    """Of the final comparison, a point a round."""
    complete_s: float = 0.0
    """The time that a run had which came to its end; 0 before there was one."""

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "key": self.key,
            "search_ended": self.search_ended,
            "search_seconds": self.search_seconds,
            "complete_s": self.complete_s,
            "searched": _rows(self.searched, self.reasons),
            "rounds": _rows(self.rounds, {}),
        }

    def save(self, file: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            ServingError: It cannot be written.
        """
        try:
            write_whole(file, (json.dumps(self.as_json(), indent=1) + "\n").encode())
        except OSError as error:
            raise ServingError(f"cannot write {file}: {error.strerror or error}") from error


def load_progress(file: Path, key: str) -> Progress:
    """The search that `file` tells of; a new one where it is of another key, absent, or damaged."""
    try:
        content = json.loads(file.read_text())
        if content["key"] != key:
            return Progress(key)
        searched, reasons = _read(content["searched"])
        return Progress(
            key, searched, reasons, content["search_ended"], content["search_seconds"], _read(content["rounds"])[0],
            content["complete_s"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return Progress(key)


def key_of(files: list[Path], *settings: Any) -> str:
    """A digest of the files' content, the settings and the machine."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    digest.update(repr((settings, len(os.sched_getaffinity(0)), os.uname().nodename)).encode())
    return digest.hexdigest()


def _rows(results: Results, reasons: dict[Candidate, str]) -> list[dict[str, Any]]:
    return [
        {
            "candidate": candidate.as_json(),
            "points": [point.as_json() for point in points],
            "reason": reasons.get(candidate, ""),
        }
        for candidate, points in results.items()
    ]


def _read(rows: list[dict[str, Any]]) -> tuple[Results, dict[Candidate, str]]:
    results, reasons = {}, {}
    for row in rows:
        candidate = Candidate(**row["candidate"])
        results[candidate] = [Point.of(entry) for entry in row["points"]]
        if row["reason"]:
            reasons[candidate] = row["reason"]
    return results, reasons
