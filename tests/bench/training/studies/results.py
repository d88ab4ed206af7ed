"""What a study came to, as a file of its own beside the page: docs/training/studies-<study>.json."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conch.contracts.fingerprint import git_commit, package_versions
from tests.bench import store
from tests.bench.machine import describe_machine
from tests.bench.training.studies.study import Claim, Run, Study

PACKAGES = ("torch", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Result:
    """A study's runs, what was claimed of them, and where and when they were made."""

    study: str
    settings: dict[str, Any]
    data: str
    claims: tuple[Claim, ...]
    runs: tuple[Run, ...]
    seconds: float
    """Of the whole study, by the clock."""
    load: float
    """The machine's load average of the minute before."""
    machine: str
    packages: dict[str, str]
    commit: str | None
    date: str

    @property
    def came_out(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    def write(self, folder: Path) -> None:
        """Write `studies-<study>.json`, whole or not at all; numbers that are none as null."""
        content = {"came_out": self.came_out} | asdict(self)
        content["runs"] = [_without_nan(run) for run in content["runs"]]
        store.write(_path(self.study, folder), content)


def result_of(name: str, study: Study, runs: Sequence[Run], seconds: float, load: float) -> Result:
    """A result made here and now."""
    claims = tuple(study.claims(runs))
    return Result(
        name, asdict(study.settings), study.data, claims, tuple(runs), round(seconds, 1), round(load, 2),
        describe_machine(), package_versions(*PACKAGES), git_commit(), f"{datetime.now(UTC):%Y-%m-%d}",
    )  # fmt: skip


def read_result(study: str, folder: Path) -> Result | None:
    """The result of an earlier run; None where there is none.

    Raises:
        ConchError: the file is damaged.
    """
    return store.read(_path(study, folder), _result, f"python -m tests.bench.training.studies {study}")


def _result(content: dict[str, Any]) -> Result:
    del content["came_out"]
    content["claims"] = tuple(Claim(**claim) for claim in content["claims"])
    content["runs"] = tuple(Run(**_with_nan(run)) for run in content["runs"])
    return Result(**content)


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def _path(study: str, folder: Path) -> Path:
    return folder / f"studies-{study}.json"


def _without_nan(run: dict[str, Any]) -> dict[str, Any]:
    curve = [round(value, 5) if math.isfinite(value) else None for value in run["curve"]]
    return run | {
        "curve": curve,
        "loss": run["loss"] if math.isfinite(run["loss"]) else None,
        "seconds": round(run["seconds"], 1),
    }


def _with_nan(run: dict[str, Any]) -> dict[str, Any]:
    curve = tuple(math.nan if value is None else value for value in run["curve"])
    return run | {"curve": curve, "loss": math.nan if run["loss"] is None else run["loss"]}
