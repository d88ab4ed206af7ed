"""conch load init MODEL: a promise from a measured run."""

import math
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml
from rich.console import Console

from conch.contracts.errors import ConchError
from conch.contracts.promises import Promise, PromiseError, read_promises
from loadtest.errors import CannotRun
from loadtest.numbers import above_zero
from loadtest.outcome import machine
from loadtest.recorder import Tally
from loadtest.stopping import exit_code, told_to_stop
from loadtest.target import LONGEST_S, Target, run_with_progress, timespan
from loadtest.verdict import checks, judge, stopped_check


@dataclass(frozen=True, kw_only=True)
class Init(Target):
    """Measure a served model at a rate and write its promise: the latencies found, with a margin.

    Nothing is written from a run that is INVALID, or had a wrong or missing answer.
    """

    model: Annotated[str, tyro.conf.Positional]
    """A served model."""

    rate: float = 60.0
    """Requests a second, for all users together."""

    duration: str = "20s"
    """How long is counted."""

    margin: float = 2.0
    """Each limit is the upper end of the measured 95 % interval times this."""

    def check_numbers(self) -> None:
        super().check_numbers()
        above_zero("--rate", self.rate)
        above_zero("--duration", timespan("--duration", self.duration), LONGEST_S)
        if not 1 <= self.margin <= 1000:
            raise CannotRun(f"--margin {self.margin:g}: expected a number from 1 to 1000")

    def run(self, console: Console) -> int:
        self.check_numbers()
        path = self.promises or Path("promises.yaml")
        check_absent(path, self.model)
        self.check_served([self.model])
        plan = self.plan(self.model, self.rate, self.duration)
        with told_to_stop() as stop:
            finished = run_with_progress(plan, stop)
        if stop.signal:
            return exit_code(stop.signal)
        tally = finished.recorder.total()
        # Limits of an hour are kept by whatever was answered: what is left are the reasons for which nothing is shown.
        bearing = Promise(rate=self.rate, error_rate=0, p50_ms=3.6e6, p95_ms=3.6e6, p99_ms=3.6e6)
        verdicts = judge(bearing, tally)
        found = checks(finished.recorder, verdicts, plan.rate, finished.seconds, plan.pattern)
        found += stopped_check(finished.stopped, finished.seconds, plan.duration_s)
        reasons = [str(verdict) for verdict in verdicts if verdict.verdict == "BROKEN"]
        if reasons := reasons + [check.says for check in found if not check.ok]:
            raise CannotRun(f"no promise of {self.model} is written, for the run shows none: {'; '.join(reasons)}")
        promise = measured(tally, self.rate, self.margin)
        append(path, self.model, promise, self._says(tally, finished.seconds))
        self.print_if_json({self.model: asdict(promise)})
        console.print(f"{path}: {entry(self.model, promise)}", markup=False, highlight=False, soft_wrap=True)
        return 0

    def _says(self, tally: Tally, seconds: float) -> str:
        there: dict[str, Any] = machine()
        found = [tally.distribution().percentile(percent) for percent in (50, 95, 99)]
        latencies = ", ".join(f"{one.name} {one.value:.3g} ms" for one in found if one.value is not None)
        return (
            f"Measured {datetime.now(UTC):%Y-%m-%d}, {tally.requests} requests in {seconds:.0f} s on {there['cpu']}, "
            f"{there['cores']} cores: {latencies}; limits are {self.margin:g} times the upper ends of the intervals."
        )


def measured(tally: Tally, rate: float, margin: float) -> Promise:
    """Limits of `margin` times the upper ends of the 95 % intervals, rounded up to two digits; all of them exist."""
    ends = [tally.distribution().percentile(percent).high for percent in (50, 95, 99)]
    p50, p95, p99 = (None if end is None else _two_digits_up(end * margin) for end in ends)
    return Promise(rate=rate, error_rate=0, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def check_absent(path: Path, model: str) -> None:
    """Raises PromiseError where the file is no file of promises, or promises something about the model already."""
    if path.exists() and path.read_text(encoding="utf-8").strip():
        known = read_promises([path])
        if model in known.promises or model in known.wrong:
            raise PromiseError(f"{path} has an entry for {model!r}: delete it, or name another file with --promises")


def append(path: Path, model: str, promise: Promise, says: str) -> None:
    """The entry at the end of the file, whose other lines and comments stay as they are. Raises CannotRun where it
    cannot be written, PromiseError where the file would not be read with it."""
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        text = f"{before}{'' if before.endswith(chr(10)) or not before else chr(10)}# {says}\n{entry(model, promise)}\n"
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotRun(f"cannot write {path}: {error.strerror or error}") from error
    try:
        read_promises([path]).of(model)
    except ConchError as error:
        path.write_text(before, encoding="utf-8")
        raise PromiseError(f"{path} takes no entry at its end: write it by hand: {entry(model, promise)}") from error


def entry(model: str, promise: Promise) -> str:
    """A line of promises.yaml."""
    numbers = ", ".join(f"{key}: {value:g}" for key, value in asdict(promise).items() if value is not None)
    name = model if re.fullmatch(r"[A-Za-z_][\w-]*", model) and yaml.safe_load(model) == model else f'"{model}"'
    return f"{name}: {{{numbers}}}"


def _two_digits_up(value: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 6)) * unit:.6g}")
