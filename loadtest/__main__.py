"""Load a server with golden inputs, compare every answer, and hold the latencies against promises.

examples:
  conch load run cnn --rate 100 --duration 20s
  conch load run all
  conch load run all --if-changed    leaves out what was kept and would be the same load again
  conch load init mine --rate 60
  conch load mix scenario.yaml
  conch load capacity cnn --promise "p99<20ms"
  conch load compare BEFORE AFTER

Exit code 0: every promise was kept. 1: one was broken. 2: the run is invalid and shows neither. 3: it could not be run,
or its results not be written. 128 + n: signal n ended it early (130: Ctrl-C). Whatever was sent leaves a run.json.
"""

import locust  # noqa: F401  # first of all: it patches sockets and threads for gevent

# isort: split
import contextlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from conch import command_line
from conch.command_line import ERR, out
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.golden import GoldenError
from conch.contracts.promises import Known, Promise, promise_files, read_promises
from loadtest.compare import Compare
from loadtest.errors import CannotRun
from loadtest.golden import keeps_state
from loadtest.init import Init
from loadtest.mix import Mix
from loadtest.numbers import above_zero
from loadtest.outcome import write_outcome
from loadtest.run import Plan
from loadtest.search_commands import Capacity, Profile
from loadtest.soak import Soak
from loadtest.stopping import Stop, exit_code, told_to_stop
from loadtest.tables import show_reasons, show_runs
from loadtest.target import LONGEST_S, ModelLoad, Printing, rate_of, run_with_progress, timespan
from loadtest.up_to_date import fingerprint, kept_run, up_to_date
from loadtest.verdict import EXIT_CODES, Outcome, Verdict, checks, judge, stopped_check

NOT_RUN = 3


@dataclass(frozen=True, kw_only=True)
class Promises(Printing):
    """Check the promises and show them."""

    promises: Path | None = None
    """The file that says what each model promises. Default: promises.yaml in the working folder, then in artifacts,
    then that of the shipped models."""

    artifacts: Path = field(default_factory=artifacts_folder)
    """The folder whose promises.yaml counts after that of the working folder."""

    def run(self, console: Console) -> int:
        known = read_promises(promise_files(self.promises, self.artifacts))
        table = Table("model", "requests/s", "p50 ms", "p95 ms", "p99 ms", "error rate")
        for model, promise in known.promises.items():
            limits = (promise.rate, promise.p50_ms, promise.p95_ms, promise.p99_ms, promise.error_rate)
            table.add_row(model, *("-" if limit is None else f"{limit:g}" for limit in limits))
        console.print(table)
        self.print_if_json({model: asdict(promise) for model, promise in known.promises.items()})
        for error in known.wrong.values():
            _tell_error(error)
        return NOT_RUN if known.wrong else 0


@dataclass(frozen=True, kw_only=True)
class Run(ModelLoad):
    """Send golden inputs at a rate whatever the server does, compare the answers, and hold the latencies against the
    promises."""

    if_changed: bool = False
    """Keep a run that kept its promises, where load, promises, golden answers, what is served and the machine are
    those of then."""

    def run(self, console: Console) -> int:
        self.check_numbers()
        known, failed = self.promised(), []
        plans = []
        for model in self._models(known):
            try:
                promise = known.of(model)
                self.check_served([model])
                plans.append(self.plan(model, rate_of(promise, self.rate), self.duration, promise.in_time_ms))
            except ConchError as error:
                if self.model != "all":
                    raise
                failed.append(model)  # the others are not stopped by it
                _tell_error(error)
        results = self.results()
        outcomes: list[tuple[dict[str, Any], list[Verdict]]] = []
        with told_to_stop() as stop:
            for plan in plans:
                if not stop.signal:
                    outcomes.append(self._kept_or_run(plan, known.of(plan.model), results / plan.model, stop))
        show_runs(console, [run for run, _ in outcomes])
        self.print_if_json([run for run, _ in outcomes])
        for run, verdicts in outcomes:
            show_reasons(console, run, [str(verdict) for verdict in verdicts if verdict.verdict == "BROKEN"])
        for run, _ in outcomes:
            console.print(f"{run['verdict']}: {results / run['model'] / 'index.html'}", highlight=False, soft_wrap=True)
        if stop.signal:
            return exit_code(stop.signal)
        found = {run["verdict"] for run, _ in outcomes}
        worst: Outcome = "BROKEN" if "BROKEN" in found else "INVALID" if "INVALID" in found else "KEPT"
        return EXIT_CODES[worst] or (NOT_RUN if failed else 0)

    def check_numbers(self) -> None:
        super().check_numbers()
        if self.rate is not None:
            above_zero("--rate", self.rate)
        above_zero("--duration", timespan("--duration", self.duration), LONGEST_S)

    def _kept_or_run(
        self, plan: Plan, promise: Promise, folder: Path, stop: Stop
    ) -> tuple[dict[str, Any], list[Verdict]]:
        own = fingerprint(plan, {plan.model: promise})
        if self.if_changed and (earlier := kept_run(folder, own)):
            ERR.print(up_to_date(plan.model, earlier), markup=False, highlight=False)
            return earlier, []
        finished = run_with_progress(plan, stop)
        verdicts = judge(promise, finished.recorder.total())
        found = checks(finished.recorder, verdicts, plan.rate, finished.seconds, plan.pattern)
        found += stopped_check(finished.stopped, finished.seconds, plan.duration_s)
        return write_outcome(finished, {plan.model: verdicts}, found, folder, own), verdicts

    def _models(self, known: Known) -> list[str]:
        """Those to be tested: the one that is named, or all that something is promised about and that are served."""
        if self.model != "all":
            known.of(self.model)
            return [self.model]
        served = self.served()
        promised = [*known.promises, *known.wrong]
        kept_out = {model for model in served if self._keeps_state(model)}
        for model in sorted(kept_out):
            ERR.print(f"{model} keeps a state between requests: left out, a scenario's streams load it")
        models = [model for model in promised if model in served and model not in kept_out]
        if not models:
            raise CannotRun(
                f"the server has none of the models that {known} promises something about (another file: "
                f"--promises FILE), or only such as keep a state; it has: {', '.join(sorted(served)) or 'none'}"
            )
        return models

    def _keeps_state(self, model: str) -> bool:
        with contextlib.suppress(GoldenError):  # what has no golden answers is told when it is planned
            return keeps_state(self.artifacts, model)
        return False


def _tell_error(error: ConchError) -> None:
    sys.stderr.write(f"error: {error}\n")


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    try:
        command = tyro.cli(
            Run | Init | Mix | Capacity | Profile | Soak | Compare | Promises,
            prog="conch load",
            description=__doc__,
            args=words,
        )
    except SystemExit as ended:  # after help 0, and 2 for what it cannot read, which would be an invalid run
        return NOT_RUN if ended.code else 0
    except CannotRun as error:  # an address that is none
        command_line.fail(str(error))
        return NOT_RUN
    try:
        return command_line.run(lambda: command.run(out(command.json)), failed=NOT_RUN, stopped="")
    except Exception:  # Python's own code for it is 1, which would be a broken promise
        traceback.print_exc()
        return NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
