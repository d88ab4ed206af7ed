"""One model under load: Locust, run here and not in a process of its own, so that five models start it once."""

import logging
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import gevent
from gevent.hub import Hub
from locust import User
from locust.env import Environment
from locust.stats import stats_history

from clients.access import Access
from conch.contracts.fingerprint import sha256_of_file
from loadtest.clock import now
from loadtest.generator import Generator
from loadtest.golden import Golden, load_golden
from loadtest.locust_stats import be_fine
from loadtest.planning import golden_of
from loadtest.recorder import Recorder
from loadtest.scenario import read_scenario
from loadtest.server_watch import ServerWatch
from loadtest.stopping import Stop
from loadtest.users import TIMEOUT_S, TritonGrpcUser, TritonHttpUser

# gevent prints a traceback for Ctrl-C before it raises it; the command line says what it means.
Hub.NOT_ERROR += (KeyboardInterrupt,)

STOPPED_S = 1.0  # that a run which was told to end waits for the answers under way

Protocols = Literal["http", "grpc", "both"]
USERS: dict[Protocols, list[type[User]]] = {
    "http": [TritonHttpUser],
    "grpc": [TritonGrpcUser],
    "both": [TritonHttpUser, TritonGrpcUser],
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done to one model, or to those of a scenario (a path). `rate` is in requests/s, all users together;
    the times are in seconds, `http`, `grpc` and `metrics` are addresses as http://host:port; `users` is the most there
    may be at once."""

    model: str
    rate: float
    duration_s: float
    protocol: Protocols
    users: int
    http: str
    grpc: str
    artifacts: Path
    metrics: str = ""
    access: Access = Access()  # noqa: RUF009  # frozen
    batch: int = 1
    arrivals: str = "poisson"
    replay: str = ""
    warmup: float = 1.0
    check: float = 1.0
    in_time_ms: dict[str, float | None] = field(default_factory=dict)
    seed: int = 0
    scenario: str = ""

    def url(self) -> str:
        """Where the requests go, to read."""
        urls = {"http": self.http, "grpc": self.grpc}
        return urls.get(self.protocol) or ", ".join(urls.values())

    @property
    def pattern(self) -> str:
        """What decides when a request is made."""
        return "replay" if self.replay else self.arrivals

    def golden(self) -> dict[str, Golden]:
        """What is sent, by model. Raises GoldenError or ScenarioError."""
        if not self.scenario:
            return {self.model: load_golden(self.artifacts, self.model)}
        parts = read_scenario(Path(self.scenario)).parts
        return {part.model: golden_of(part, self.artifacts) for part in parts}


@dataclass(frozen=True)
class Asked:
    """What was asked for, read before anything is sent: files may change while a run goes on.

    `content` is what must be equal for two runs to be comparable; where the server is, is not of it. `text` is that of
    the scenario's file, "" without one.
    """

    content: dict[str, Any]
    text: str = ""


def asked_of(plan: Plan) -> Asked:
    """Raises ScenarioError or OSError where a file of the plan cannot be read."""
    if plan.scenario:
        content = asdict(read_scenario(Path(plan.scenario)))
        return Asked(content, content.pop("text"))  # comments may differ
    content = {
        "model": plan.model,
        "protocol": plan.protocol,
        "arrivals": plan.pattern,
        "rate": plan.rate,
        "duration_s": plan.duration_s,
        "warmup_s": plan.warmup,
        "batch": plan.batch,
    }
    if plan.replay:
        content["replay_sha256"] = sha256_of_file(Path(plan.replay))
    return Asked(content)


@dataclass
class Finished:
    """What was done, by one process or by all workers together.

    `seconds` is the counted time: after the warm-up, and before the last answers were waited for. `stopped` is the
    signal that told it to end, 0 without; what was whole by then is so.
    """

    plan: Plan
    golden: dict[str, Golden]
    started: datetime
    environment: Environment
    recorder: Recorder
    server: ServerWatch | None
    asked: Asked
    seconds: float = 0.0
    stopped: int = 0


def run_load(plan: Plan, stop: Stop, tick: Callable[[float, Finished], None]) -> Finished:
    """Send as planned and record, until `stop` says to end; `tick` is called a few times a second with the seconds gone
    by.

    Raises GoldenError, ScenarioError or ArrivalsError when there is nothing to send.
    """
    be_fine()
    # It warns of many users at once, which is about users that all begin to send.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    golden = plan.golden()
    shared = {name: value for name, value in vars(plan).items() if name != "access"}
    options = Namespace(**shared, headless=True, workers=1)
    environment = Environment(user_classes=USERS[plan.protocol], parsed_options=options, host=plan.url())
    # A user that waits for an answer when the time is up gets it, and it is counted.
    environment.stop_timeout = TIMEOUT_S
    runner = environment.create_local_runner()
    generator = Generator(environment, plan.access)
    versions = {model: own.version for model, own in golden.items()}
    server = ServerWatch(plan.http, plan.metrics, versions, plan.access)
    run = Finished(plan, golden, datetime.now(UTC), environment, generator.recorder, server, asked_of(plan))
    history = gevent.spawn(stats_history, runner)
    try:
        server.start()
        runner.start(plan.users, spawn_rate=plan.users)
        server.watch(generator.begun + plan.warmup, plan.duration_s)
        _send(generator, run, tick, stop)
        server.finish()
        runner.stop()
    finally:
        runner.quit()
        history.kill()
        server.stop()
    run.stopped = stop.signal
    return run


def _send(generator: Generator, run: Finished, tick: Callable[[float, Finished], None], stop: Stop) -> None:
    """Until the time is up and everything is answered, or the run is told to end."""
    plan = run.plan
    begin = generator.begun + plan.warmup
    end = begin + plan.duration_s
    while (left := end - now()) > 0 and not stop.signal:
        gevent.sleep(min(0.25, left))
        tick(plan.duration_s + plan.warmup - max(0.0, end - now()), run)
    run.seconds = min(plan.duration_s, max(0.0, now() - begin))
    with gevent.Timeout(TIMEOUT_S, False):
        while not (stop.signal or generator.closed or generator.drained()):
            gevent.sleep(0.01)
    if stop.signal:
        run.environment.stop_timeout = STOPPED_S
        generator.halt()
