"""conch load compare A B: is B slower than A, faster, or is no difference shown?

Requests of the same moment are alike, so whole seconds are drawn and not single requests (block bootstrap): intervals
from single requests would be far too narrow.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from loadtest.errors import CannotRun
from loadtest.latency import CONFIDENCE
from loadtest.numbers import from_zero
from loadtest.target import Printing

DRAWS = 2000
LEAST_SECONDS = 5
PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Difference:
    """Of one percentile: in ms by both runs, and B / A - 1 with its interval; None where a run cannot say."""

    name: str
    a: float | None
    b: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def says(self) -> str:
        if self.low is None or self.high is None:
            return "n too small"
        return "slower" if self.low > 0 else "faster" if self.high < 0 else "no difference shown"

    def regressed(self, tolerance: float) -> bool:
        """Whether it is slower for certain, and by more than this share."""
        return self.low is not None and self.low > tolerance


@dataclass(frozen=True, kw_only=True)
class Compare(Printing):
    """Two runs by their run.json: the difference of each percentile with its interval.

    Exit code 0: nothing got slower by more than the tolerance. 1: something did. 3: they cannot be compared.
    """

    a: Annotated[Path, tyro.conf.Positional]
    """The run before: its run.json or the folder with it."""

    b: Annotated[Path, tyro.conf.Positional]
    """The run after."""

    tolerance: float = 0.05
    """The share by which a percentile may be slower."""

    differing: bool = False
    """Compare even though model, inputs or scenario differ."""

    def run(self, console: Console) -> int:
        from_zero("--tolerance", self.tolerance, 1000)
        before, after = read_run(self.a), read_run(self.b)
        if (found := differing(before, after)) and not self.differing:
            raise CannotRun(
                f"{self.a} and {self.b} differ in {', '.join(found)}; --differing compares them all the same"
            )
        for path, run in ((self.a, before), (self.b, after)):
            if run["verdict"] == "INVALID":
                raise CannotRun(f"{path} is an INVALID run and shows nothing")
        differences = compare_parts(before, after)
        table = Table("percentile", "A ms", "B ms", "change", "95 % interval", "")
        for entry in differences:
            interval = "-" if entry.low is None else f"{entry.low:+.1%} to {entry.high:+.1%}"
            change = "-" if entry.change is None else f"{entry.change:+.1%}"
            table.add_row(entry.name, _cell(entry.a), _cell(entry.b), change, interval, entry.says)
        console.print(table)
        slower = [entry.name for entry in differences if entry.regressed(self.tolerance)]
        shown = [asdict(entry) | {"says": entry.says} for entry in differences]
        self.print_if_json({"differences": shown, "tolerance": self.tolerance, "regressed": slower})
        if slower:
            console.print(f"REGRESSION beyond {self.tolerance:.0%}: {', '.join(slower)}", highlight=False)
        return 1 if slower else 0


def read_run(path: Path) -> dict[str, Any]:
    """The content of a run.json; raises CannotRun for what is none."""
    file = path / "run.json" if path.is_dir() else path
    try:
        run: dict[str, Any] = json.loads(file.read_text())
        for key in ("verdict", "model", "golden_sha256", "scenario_sha256", "latency_ms", "series"):
            run[key]
    except OSError as error:
        raise CannotRun(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{file} is no result of `conch load run` ({error!r})") from error
    return run


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What must be equal for the numbers to be about the same thing."""
    keys = {"model": "model", "golden_sha256": "inputs", "scenario_sha256": "scenario"}
    return [what for key, what in keys.items() if a[key] != b[key]]


def compare_parts(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    """The same for each model of a scenario and protocol that both runs have; of one model, all requests together."""
    known = [{f"{part['model']} {part['protocol']}": part for part in run.get("parts", [])} for run in (a, b)]
    if len({part["model"] for parts in known for part in parts.values()}) < 2:
        return compare(a, b)
    both = [name for name in known[0] if name in known[1]]
    found = [(name, entry) for name in both for entry in compare(known[0][name], known[1][name])]
    return [replace(entry, name=f"{name} {entry.name}") for name, entry in found]


def compare(a: dict[str, Any], b: dict[str, Any], seed: int = 0) -> list[Difference]:
    """The percentiles of the response time of two run.json contents."""
    draw = np.random.default_rng(seed)
    drawn = [_bootstrap(run["series"], draw) for run in (a, b)]
    tail = (1 - CONFIDENCE) / 2 * 100
    found = []
    for place, percent in enumerate(PERCENTS):
        name = f"p{percent}"
        before, after = a["latency_ms"][name], b["latency_ms"][name]
        if before is None or after is None or not before or drawn[0] is None or drawn[1] is None:
            found.append(Difference(name, before, after))
            continue
        ratios = drawn[1][:, place] / drawn[0][:, place] - 1
        low, high = np.percentile(ratios, [tail, 100 - tail])
        found.append(Difference(name, before, after, after / before - 1, float(low), float(high)))
    return found


def _bootstrap(series: list[dict[str, Any]], draw: np.random.Generator) -> np.ndarray | None:
    """[draws, percents] of runs made of as many of the seconds, drawn with replacement; None for too few of them."""
    seconds = [dict(map(tuple, second["response"])) for second in series if second["response"]]
    if len(seconds) < LEAST_SECONDS:
        return None
    bounds = np.array(sorted({bound for second in seconds for bound in second}))
    counts = np.array([[second.get(bound, 0) for bound in bounds] for second in seconds])
    result = np.empty((DRAWS, len(PERCENTS)))
    for number in range(DRAWS):
        times = np.bincount(draw.integers(len(seconds), size=len(seconds)), minlength=len(seconds))
        cumulated = np.cumsum(times @ counts)
        ranks = np.ceil(np.array(PERCENTS) / 100 * cumulated[-1])
        result[number] = bounds[np.searchsorted(cumulated, ranks)]
    return result


def _cell(value: float | None) -> str:
    return "n too small" if value is None else f"{value:.3f}"
