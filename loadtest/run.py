"""One model under load: Locust, run here and not in a process of its own, so that five models start it once."""

import logging
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import gevent
from gevent.hub import Hub
from locust import User
from locust.env import Environment
from locust.stats import stats_history

from loadtest.clock import now
from loadtest.generator import Generator
from loadtest.golden import Golden, load_golden
from loadtest.locust_stats import be_fine
from loadtest.planning import golden_of
from loadtest.recorder import Recorder
from loadtest.scenario import read_scenario
from loadtest.server_watch import ServerWatch
from loadtest.users import TIMEOUT_S, TritonGrpcUser, TritonHttpUser

# gevent prints a traceback for Ctrl-C before it raises it; the command line says what it means.
Hub.NOT_ERROR += (KeyboardInterrupt,)

Protocols = Literal["http", "grpc", "both"]
USERS: dict[Protocols, list[type[User]]] = {
    "http": [TritonHttpUser],
    "grpc": [TritonGrpcUser],
    "both": [TritonHttpUser, TritonGrpcUser],
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done to one model, or to those of a scenario (a path). `rate` is in requests/s, all users together;
    the times are in seconds, `http`, `grpc` and `metrics` are host:port; `users` is the most there may be at once."""

    model: str
    rate: float
    duration_s: float
    protocol: Protocols
    users: int
    http: str
    grpc: str
    artifacts: Path
    metrics: str = ""
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
        urls = {"http": f"http://{self.http}", "grpc": f"grpc://{self.grpc}"}
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


@dataclass
class Finished:
    """What was done, by one process or by all workers together.

    `seconds` is the counted time: after the warm-up, and before the last answers were waited for.
    """

    plan: Plan
    golden: dict[str, Golden]
    started: datetime
    environment: Environment
    recorder: Recorder
    server: ServerWatch | None
    seconds: float = 0.0


def run_load(plan: Plan, tick: Callable[[float, Finished], None] = lambda _seconds, _run: None) -> Finished:
    """Send as planned and record; `tick` is called a few times a second with the seconds gone by.

    Raises GoldenError, ScenarioError or ArrivalsError when there is nothing to send.
    """
    be_fine()
    # It warns of many users at once, which is about users that all begin to send.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    golden = plan.golden()
    options = Namespace(**vars(plan), headless=True, workers=1)
    environment = Environment(user_classes=USERS[plan.protocol], parsed_options=options, host=plan.url())
    # A user that waits for an answer when the time is up gets it, and it is counted.
    environment.stop_timeout = TIMEOUT_S
    runner = environment.create_local_runner()
    generator = Generator(environment)
    server = ServerWatch(plan.http, plan.metrics, {model: own.version for model, own in golden.items()})
    run = Finished(plan, golden, datetime.now(UTC), environment, generator.recorder, server)
    history = gevent.spawn(stats_history, runner)
    try:
        server.start()
        runner.start(plan.users, spawn_rate=plan.users)
        server.watch(generator.begun + plan.warmup, plan.duration_s)
        end = generator.begun + plan.warmup + plan.duration_s
        while (left := end - now()) > 0:
            gevent.sleep(min(0.25, left))
            tick(plan.duration_s + plan.warmup - max(0.0, end - now()), run)
        run.seconds = plan.duration_s
        with gevent.Timeout(TIMEOUT_S, False):
            while not (generator.closed or generator.drained()):
                gevent.sleep(0.01)
        server.finish()
        runner.stop()
    finally:
        runner.quit()
        history.kill()
        server.stop()
    return run
