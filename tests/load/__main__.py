"""python -m tests.load run MODEL|all --rate 100 --duration 20s, and python -m tests.load promises

Exit code 0: every promise was kept. 1: one was broken. 2: the load could not be run.
"""

import locust  # noqa: F401  # first of all: it patches sockets and threads for gevent

# isort: split
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from locust.util.timespan import parse_timespan
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.load.golden import GoldenError, load_golden
from tests.load.outcome import write_outcome
from tests.load.promises import Promise, PromiseError, Verdict, judge, promise_of, read_promises
from tests.load.run import Finished, Plan, Protocols, run_load
from tests.load.tables import show_broken, show_runs
from tests.load.wire import served_versions

KEPT, BROKEN, NOT_RUN = 0, 1, 2
PROMISES = Path(__file__).with_name("promises.yaml")


class CannotRun(Exception):
    """The load cannot be run; the message is one line and says why."""


@dataclass(frozen=True, kw_only=True)
class Promises:
    """Check the promises and show them."""

    promises: Path = PROMISES
    """The file that says what each model promises."""

    def run(self, console: Console) -> int:
        table = Table("model", "requests/s", "p50 ms", "p95 ms", "p99 ms", "error rate")
        for model, promise in read_promises(self.promises).items():
            limits = (promise.rate, promise.p50_ms, promise.p95_ms, promise.p99_ms, promise.error_rate)
            table.add_row(model, *("-" if limit is None else f"{limit:g}" for limit in limits))
        console.print(table)
        return KEPT


@dataclass(frozen=True, kw_only=True)
class Run:
    """Send golden inputs at a steady rate, compare every answer, and hold the latencies against the promises."""

    model: Annotated[str, tyro.conf.Positional]
    """A model of the promises, or all: those that the server has, one after another."""

    rate: float | None = None
    """Requests a second, for all users together; default: the model's rate in the promises."""

    duration: str = "20s"
    """How long, for each model: 20s, 2m, 1h30m."""

    protocol: Protocols = "http"
    """What the users speak; both: half of them each."""

    users: int = 8
    """Callers with a connection each. A caller waits for its answer, so this bounds the requests under way."""

    batch: int = 1
    """Items in each request."""

    seed: int = 0
    """Of the choice of inputs."""

    http: str = field(default_factory=lambda: os.environ.get("CONCH_HTTP") or "localhost:8000")
    """The server's host:port for HTTP."""

    grpc: str = field(default_factory=lambda: os.environ.get("CONCH_GRPC") or "localhost:8001")
    """The server's host:port for gRPC."""

    promises: Path = PROMISES
    """The file that says what each model promises."""

    artifacts: Path = field(default_factory=lambda: Path(os.environ.get("CONCH_ARTIFACTS") or "artifacts"))
    """The folder whose models/ holds the golden answers and whose report/load/ gets the results."""

    def run(self, console: Console) -> int:
        promises = read_promises(self.promises)
        models = self._models(promises)
        plans = [self._plan(model, promises[model]) for model in models]
        results = self.artifacts / "report" / "load"
        try:
            results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotRun(f"cannot write {results}: {error.strerror or error}") from error
        outcomes: list[tuple[dict, list[Verdict]]] = []
        for plan in plans:
            finished = _with_progress(plan)
            verdicts = judge(promises[plan.model], finished.recorder.total(), plan.rate, finished.seconds)
            try:
                outcomes.append((write_outcome(finished, verdicts, results / plan.model), verdicts))
            except OSError as error:
                raise CannotRun(f"cannot write {results / plan.model}: {error.strerror or error}") from error
        show_runs(console, [run for run, _ in outcomes])
        for run, verdicts in outcomes:
            show_broken(console, run, verdicts)
        return KEPT if all(run["kept"] for run, _ in outcomes) else BROKEN

    def _models(self, promises: dict[str, Promise]) -> list[str]:
        """Those to be tested, all of them served in the version whose golden answers we have."""
        served = self._served()
        if self.model != "all":
            promise_of(promises, self.model, self.promises)
        models = [model for model in promises if model in served] if self.model == "all" else [self.model]
        if not models or self.model not in ("all", *served):
            asked = "none of the promised models" if self.model == "all" else f"no model {self.model!r}"
            raise CannotRun(f"the server has {asked}; it has: {', '.join(sorted(served)) or 'none'}")
        for model in models:
            golden = load_golden(self.artifacts, model)
            if golden.version not in served[model]:
                raise CannotRun(
                    f"the server has {model} in version {', '.join(served[model])}, but the newest golden answers are "
                    f"of version {golden.version}; serve {self.artifacts / 'models'}"
                )
        return models

    def _served(self) -> dict[str, list[str]]:
        """What all of the protocols asked for can reach."""
        found: dict[str, list[str]] = {}
        for protocol in ("http", "grpc") if self.protocol == "both" else (self.protocol,):
            target = getattr(self, protocol)
            try:
                found = served_versions(protocol, target)
            except Exception as error:  # the clients raise whatever their layers do
                reason = " ".join(str(error).split())
                raise CannotRun(f"no server answers at {protocol}://{target} ({reason})") from error
        return found

    def _plan(self, model: str, promise: Promise) -> Plan:
        try:
            duration = float(parse_timespan(self.duration))
        except ValueError as error:
            raise CannotRun(f"--duration {self.duration}: expected 20s, 2m or 1h30m") from error
        rate = promise.rate if self.rate is None else self.rate
        # Of both protocols each needs a user.
        users = max(self.users, 2) if self.protocol == "both" else self.users
        if min(rate, duration, users, self.batch) <= 0:
            raise CannotRun("--rate, --duration, --users and --batch must be above 0")
        return Plan(
            model, rate, duration, self.protocol, users, self.batch, self.http, self.grpc, self.artifacts, self.seed
        )


def _with_progress(plan: Plan) -> Finished:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    # Drawing takes time from the users, so it is done seldom.
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, refresh_per_second=2, disable=not shown) as bar:
        task = bar.add_task(plan.model, total=plan.duration_s)

        def tick(seconds: float, run: Finished) -> None:
            total = run.environment.stats.total
            text = f"{plan.model}: {total.num_requests} sent, {total.num_failures} bad"
            bar.update(task, completed=seconds, description=text)

        return run_load(plan, tick)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    command = tyro.cli(Run | Promises, prog="python -m tests.load", description=__doc__, args=arguments)
    try:
        return command.run(Console())
    except (CannotRun, GoldenError, PromiseError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return NOT_RUN
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
