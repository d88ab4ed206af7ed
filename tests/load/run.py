"""One model under load: Locust, run here and not in a process of its own, so that five models start it once."""

import time
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

from tests.load.golden import Golden, load_golden
from tests.load.recorder import Recorder
from tests.load.users import TIMEOUT_S, TritonGrpcUser, TritonHttpUser

# gevent prints a traceback for Ctrl-C before it raises it; the command line says what it means.
Hub.NOT_ERROR += (KeyboardInterrupt,)

Protocols = Literal["http", "grpc", "both"]
USERS: dict[Protocols, list[type[User]]] = {
    "http": [TritonHttpUser],
    "grpc": [TritonGrpcUser],
    "both": [TritonHttpUser, TritonGrpcUser],
}


@dataclass(frozen=True)
class Plan:
    """What is to be done to one model. `rate` is in requests/s, all users together; `http`, `grpc` are host:port."""

    model: str
    rate: float
    duration_s: float
    protocol: Protocols
    users: int
    batch: int
    http: str
    grpc: str
    artifacts: Path
    seed: int = 0

    def url(self) -> str:
        """Where the requests go, to read."""
        urls = {"http": f"http://{self.http}", "grpc": f"grpc://{self.grpc}"}
        return urls.get(self.protocol) or ", ".join(urls.values())


@dataclass
class Finished:
    """What was done: `seconds` is from the first user's start to the stop."""

    plan: Plan
    golden: Golden
    started: datetime
    environment: Environment
    recorder: Recorder = field(default_factory=Recorder)
    seconds: float = 0.0


def run_load(plan: Plan, tick: Callable[[float, Finished], None] = lambda _seconds, _run: None) -> Finished:
    """Send as planned and record; `tick` is called a few times a second with the seconds gone by.

    Raises GoldenError when there is nothing to send.
    """
    golden = load_golden(plan.artifacts, plan.model)
    options = Namespace(**vars(plan), headless=True)
    environment = Environment(user_classes=USERS[plan.protocol], parsed_options=options, host=plan.url())
    # A user that waits for an answer when the time is up gets it, and it is counted.
    environment.stop_timeout = TIMEOUT_S
    runner = environment.create_local_runner()
    run = Finished(plan, golden, datetime.now(UTC), environment)
    environment.events.request.add_listener(run.recorder)
    history = gevent.spawn(stats_history, runner)
    begun = time.perf_counter()
    try:
        runner.start(plan.users, spawn_rate=plan.users)
        while (gone := time.perf_counter() - begun) < plan.duration_s:
            gevent.sleep(min(0.25, plan.duration_s - gone))
            tick(min(time.perf_counter() - begun, plan.duration_s), run)
        run.seconds = time.perf_counter() - begun
        runner.stop()
    finally:
        runner.quit()
        history.kill()
    return run
