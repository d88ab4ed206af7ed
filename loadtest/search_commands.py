"""conch load capacity and profile."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from loadtest.errors import CannotRun
from loadtest.golden import load_golden
from loadtest.latency import interval_ranks
from loadtest.numbers import above_zero
from loadtest.one_promise import promise_from
from loadtest.outcome import machine
from loadtest.search import Finding, Step, bisect, collapsed, finding_of, limited_by_generator, point
from loadtest.search_page import PROFILE_HEADS, capacity_page, profile_page, profile_rows
from loadtest.search_words import capacity_says
from loadtest.stopping import exit_code, told_to_stop
from loadtest.target import LONGEST_S, Target, run_with_progress, timespan


@dataclass(frozen=True, kw_only=True)
class Capacity(Target):
    """The highest rate that keeps a promise, with the interval it lies in.

    Exit code 0: found. 1: no rate keeps it. 2: the load generator ended before the server did. 128 + n: signal n ended
    the search early; what it had found until then is written.
    """

    model: Annotated[str, tyro.conf.Positional]
    """A served model."""

    promise: str = "p99<50ms"
    """What is to be kept: p50, p95 or p99 and its limit; every answer has to be right as well."""

    start: float = 100.0
    """The first rate tried."""

    most: float = 20000.0
    """The highest rate tried."""

    precision: float = 0.1
    """The search ends when what was kept and what was not are this close, as a share."""

    duration: str = "5s"
    """How long each rate is tried; longer where the percentile takes more requests."""

    def check_numbers(self) -> None:
        super().check_numbers()
        above_zero("--start", self.start)
        above_zero("--most", self.most)
        above_zero("--precision", self.precision, 100)
        above_zero("--duration", timespan("--duration", self.duration), LONGEST_S)

    def run(self, console: Console) -> int:
        promise = promise_from(self.promise)
        self.check_numbers()
        seconds = timespan("--duration", self.duration)
        self.check_served([self.model])
        folder = result_folder(self, "load-capacity")
        least, of = _least_samples(self.promise), measured_of(self)

        def probe(rate: float) -> Finding:
            longer = f"{max(1, round(max(seconds, 1.3 * least / rate)))}s"
            plan = self.plan(self.model, rate, longer, promise.in_time_ms)
            return finding_of(run_with_progress(plan, stop, f"{self.model} at {rate:.0f}/s"), promise)

        with told_to_stop() as stop:
            steps, low, high = bisect(probe, self.start, self.most, self.precision)
            _show_steps(console, steps)
            generator = limited_by_generator(steps, high)
            result = {
                "model": self.model, "promise": self.promise, "kept_per_s": low, "not_kept_per_s": high,
                "limited_by_generator": generator, "steps": [asdict(step) for step in steps], **of,
            }  # fmt: skip
            write_result(folder / f"{self.model}.json", json.dumps(result, indent=1) + "\n")
            self.print_if_json(result)
            page = folder / f"{self.model}.html"
            write_result(page, capacity_page(result))
        if stop.signal:
            return exit_code(stop.signal)
        console.print(
            f"{self.model}, {capacity_says(result)}\npage: {page}", markup=False, highlight=False, soft_wrap=True
        )
        return 2 if generator else 0 if low else 1


@dataclass(frozen=True, kw_only=True)
class Profile(Target):
    """Latency against rate, up to collapse, as a table, a JSON file and a picture."""

    model: Annotated[str, tyro.conf.Positional]
    """A served model."""

    start: float = 50.0
    """The lowest rate."""

    most: float = 20000.0
    """The highest rate."""

    factor: float = 1.6
    """From one rate to the next."""

    duration: str = "4s"
    """How long each rate is held."""

    def check_numbers(self) -> None:
        super().check_numbers()
        above_zero("--start", self.start)
        above_zero("--most", self.most)
        if not 1 < self.factor <= 1000:
            raise CannotRun(f"--factor {self.factor:g}: expected a number above 1, at most 1000")
        above_zero("--duration", timespan("--duration", self.duration), LONGEST_S)

    def run(self, console: Console) -> int:
        self.check_numbers()
        self.check_served([self.model])
        folder = result_folder(self, "load-profile")
        points: list[dict[str, Any]] = []
        of = measured_of(self)
        served = self.served_as(self.model)
        rate = self.start
        with told_to_stop() as stop:
            while rate <= self.most and not (points and collapsed(points)) and not stop.signal:
                plan = self.plan(self.model, rate, self.duration)
                finished = run_with_progress(plan, stop, f"{self.model} at {rate:.0f}/s")
                if finished.seconds >= plan.duration_s:
                    points.append(point(finished))
                rate *= self.factor
            self._show(console, points)
            ended = bool(points) and collapsed(points)
            result = {
                "model": self.model, "points": points, "collapsed": ended, "batch": self.batch,
                "protocol": self.protocols, "served": served, **of,
            }  # fmt: skip
            write_result(folder / f"{self.model}.json", json.dumps(result, indent=1) + "\n")
            self.print_if_json(result)
            from loadtest.drawing import draw_profile  # matplotlib takes longer than all else of a refusal

            write_result(folder / f"{self.model}.svg", draw_profile(self.model, points))
            write_result(folder / f"{self.model}.html", profile_page(result))
        console.print(f"page: {folder / f'{self.model}.html'}", highlight=False, soft_wrap=True)
        return exit_code(stop.signal) if stop.signal else 0

    def _show(self, console: Console, points: list[dict[str, Any]]) -> None:
        table = Table(*PROFILE_HEADS)
        for row in profile_rows(points):
            table.add_row(*row)
        console.print(table)


def _least_samples(promise: str) -> int:
    """Requests that the percentile of a promise needs to have an interval."""
    share = float(promise.strip()[1:3]) / 100
    return next(count for count in range(1, 10_000) if interval_ranks(count, share)[1] is not None)


def _show_steps(console: Console, steps: list[Step]) -> None:
    table = Table("rate", "found")
    for step in steps:
        table.add_row(f"{step.rate:.0f}", step.finding)
    console.print(table)


def measured_of(search: Capacity | Profile) -> dict[str, Any]:
    """Of what, when and where; by the hash the report knows whether it is of the version at hand."""
    golden = load_golden(search.artifacts, search.model)
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "model_version": golden.version, "golden_sha256": golden.sha256, "started": started, "machine": machine(),
    }  # fmt: skip


def result_folder(target: Target, name: str) -> Path:
    """The folder of results of this kind; raises CannotRun where it cannot be made."""
    folder = target.results().parent / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def write_result(path: Path, text: str) -> None:
    """Raises CannotRun where it cannot be written."""
    try:
        path.write_text(text)
    except OSError as error:
        raise CannotRun(f"cannot write {path}: {error.strerror or error}") from error
