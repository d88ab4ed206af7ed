"""This working tree beside a commit, in alternating rounds of one run: make bench-compare BASE=main

Each round measures both checkouts, the one that went second before now first. A row says faster, slower or that no
difference was shown, with the interval of its cost in units of the base's. Exit code 1: a row is slower by more than
5 %. 3: it could not be measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from conch.command_line import OUT, fail
from conch.command_line import run as run_command
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.whole import write_whole
from tests.bench.compare.rows import GROUPS
from tests.bench.compare.verdicts import FEWEST_ROUNDS, Comparison, compare
from tests.bench.machine import describe_machine

ROOT = Path(__file__).parents[3]
TURN_SECONDS = 120
"""The longest that a group of rows may take."""

Costs = dict[str, dict[str, list[float]]]
"""Row -> "base" and "ours" -> the seconds of each round."""


@dataclass(frozen=True)
class Settings:
    """What is compared, and for how long."""

    base: Annotated[str, tyro.conf.Positional]
    """A commit, branch or tag."""

    rounds: int = 20
    """At most; below 8 nothing can be shown."""

    minutes: float = 20.0
    """No round is begun that would not end in time."""

    groups: tuple[str, ...] = tuple(GROUPS)
    """What is measured."""


def main() -> int:
    """Run the command."""
    return run_command(lambda: _compare(tyro.cli(Settings, prog="make bench-compare", description=__doc__)), failed=3)


def _compare(settings: Settings) -> int:
    if unknown := set(settings.groups) - set(GROUPS):
        raise ConchError(f"no group {sorted(unknown)[0]!r}; there are: {', '.join(GROUPS)}")
    with _checkout(settings.base) as (base, commit):
        costs, failed = measure({"base": base, "ours": ROOT}, settings)
    found = {
        row: compare(sides["base"], sides["ours"]) for row, sides in costs.items() if sides.keys() >= {"base", "ours"}
    }
    page = artifacts_folder() / "bench" / "compare.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, report(found, commit, failed).encode())
    _show(found)
    for group, reason in failed.items():
        fail(f"{group}: {reason}")
    OUT.print(f"-> {page}", markup=False, highlight=False)
    if not found:
        return 3
    return 1 if any(one.alarming for one in found.values()) else 0


@contextmanager
def _checkout(commit: str) -> Iterator[tuple[Path, str]]:
    """A folder with that commit, removed afterwards, and the commit's short name."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        except subprocess.CalledProcessError as error:
            raise ConchError(f"git {' '.join(words[:2])}: {' '.join(error.stderr.split())}") from error
        return done.stdout.strip()

    short = git("rev-parse", "--short", "--verify", f"{commit}^{{commit}}")
    folder = Path(tempfile.mkdtemp(prefix="conch-base-"))
    try:
        git("worktree", "add", "--force", "--detach", str(folder / "code"), short)
        yield folder / "code", short
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        git("worktree", "prune")


def measure(checkouts: Mapping[str, Path], settings: Settings) -> tuple[Costs, dict[str, str]]:
    """The costs of every row in each whole round, and why a group has none.

    A first round is not counted: it compiles, publishes, and fills the caches of the file system.
    """
    costs: Costs = defaultdict(lambda: defaultdict(list))
    failed: dict[str, str] = {}
    deadline, longest = time.monotonic() + settings.minutes * 60, 0.0
    with tempfile.TemporaryDirectory(prefix="conch-compare-") as scratch:
        for number in range(settings.rounds + 1):
            began = time.monotonic()
            if number > 1 and began + longest > deadline:
                break
            OUT.print(f"round {number} of {settings.rounds}{'' if number else ', not counted'}", style="dim")
            for group in settings.groups:
                if group in failed:
                    continue
                sides = list(checkouts)[:: 1 if number % 2 else -1]
                try:
                    found = {side: _turn(checkouts[side], group, Path(scratch) / side / group, side) for side in sides}
                except ConchError as error:
                    failed[group] = str(error)
                    continue
                for side, rows in found.items() if number else ():
                    for row, cost in rows.items():
                        costs[row][side].append(cost)
            longest = max(longest, time.monotonic() - began)
    return {row: dict(sides) for row, sides in costs.items()}, failed


def _turn(checkout: Path, group: str, folder: Path, side: str) -> dict[str, float]:
    """What the group costs that checkout now."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "ORT_DISABLE_TELEMETRY": "1"}
    program = Path(__file__).with_name("rows.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(program), group, str(folder)],
            cwd=checkout, env=environment, capture_output=True, text=True, timeout=TURN_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ConchError(f"the turn of {side} took longer than {TURN_SECONDS} s") from error
    if done.returncode:
        raise ConchError(f"{side} ended with {done.returncode}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    rows: dict[str, float] = json.loads(done.stdout)
    return rows


def _show(found: Mapping[str, Comparison]) -> None:
    table = Table("what", "cost / base", "interval", "rounds", "verdict")
    for row, one in found.items():
        table.add_row(row, f"{one.ratio:.3f}", _interval(one), str(one.rounds), one.verdict)
    OUT.print(table)


def _interval(one: Comparison) -> str:
    return f"{one.low:.3f} to {one.high:.3f}" if one.rounds >= FEWEST_ROUNDS else f"needs {FEWEST_ROUNDS} rounds"


def report(found: Mapping[str, Comparison], commit: str, failed: Mapping[str, str]) -> str:
    """The page as Markdown."""
    lines = [
        f"# This working tree beside {commit}",
        "",
        f"`make bench-compare`, on {describe_machine()}. Cost in units of the base's, below 1 is faster: the median "
        "of alternating rounds, and its 99 % interval by a sign test.",
        "",
        "| what | cost / base | interval | rounds | verdict |",
        "|---|---:|---|---:|---|",
    ]
    lines += [
        f"| {row} | {one.ratio:.3f} | {_interval(one)} | {one.rounds} | {one.verdict} |" for row, one in found.items()
    ]
    lines += [f"\n{group} was not measured: {reason}" for group, reason in failed.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
