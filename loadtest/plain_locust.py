"""The load test under plain Locust: its flags, a judgement at the end. `tests/load/locustfile.py` imports the users."""

import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from clients.access import Access
from clients.address import resolve
from conch.command_line import ERR
from conch.contracts.errors import ConchError
from conch.contracts.promises import Promise, promise_files, read_promises
from loadtest.arrivals import read_replay
from loadtest.errors import CannotRun
from loadtest.generator import Generator, collect
from loadtest.golden import Golden, load_golden
from loadtest.locust_options import add_load_options, take_access
from loadtest.locust_stats import be_fine
from loadtest.numbers import LARGEST_BATCH, MOST_USERS, above_zero, from_zero
from loadtest.outcome import document, write_outcome
from loadtest.recorder import Recorder
from loadtest.run import Finished, Plan, asked_of
from loadtest.served import check_access
from loadtest.tables import show_reasons, show_runs
from loadtest.target import LONGEST_S, address_of, check_alone, timespan
from loadtest.users import TIMEOUT_S, TritonGrpcUser, TritonHttpUser
from loadtest.verdict import EXIT_CODES, checks, judge

__all__ = ["TritonGrpcUser", "TritonHttpUser"]

POOL = 256
NOT_RUN = 3
"""The exit code where nothing was sent."""

be_fine()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Locust's own flags are all there as well; its --host is not used, its -u is the most users there may be."""
    parser.set_defaults(num_users=POOL, spawn_rate=100)
    add_load_options(parser.add_argument_group("Triton"))


@events.init.add_listener
def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Without anything to send, end with 3 before any user starts."""
    options = environment.parsed_options
    options.duration_s, options.workers, options.scenario = None, 1, ""  # Locust's own --run-time ends the test
    environment.stop_timeout = environment.stop_timeout or TIMEOUT_S  # a request on its way is counted
    access = take_access(options)
    try:
        options.http, options.grpc = (str(address_of(flag, vars(options)[flag])) for flag in ("http", "grpc"))
        if isinstance(runner, LocalRunner):
            check_all_access(environment, access)
        options.warmup = timespan("--warmup", str(options.warmup))
        check_numbers(options)
        golden = load_golden(Path(options.artifacts), options.model)
        check_alone(golden, options.batch)
        promise = read_promises(
            promise_files(Path(options.promises) if options.promises else None, Path(options.artifacts))
        ).of(options.model)
        if options.replay:
            read_replay(Path(options.replay))
    except ConchError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(NOT_RUN)
    options.in_time_ms = {options.model: promise.in_time_ms if options.in_time_ms is None else options.in_time_ms}
    recorder = collect(environment) if isinstance(runner, MasterRunner) else Generator(environment, access).recorder
    if isinstance(runner, WorkerRunner):
        _check_at_the_start(environment, access)
    else:
        _judge_at_the_end(environment, golden, promise, recorder)


def check_all_access(environment: Any, access: Access) -> None:
    """Raises CannotRun where the server does not let this process in over a protocol that its users speak."""
    for protocol in sorted({vars(user)["protocol"] for user in environment.user_classes}):
        check_access(resolve(vars(environment.parsed_options)[protocol], protocol), access)


def _check_at_the_start(environment: Any, access: Access) -> None:
    """A worker hears from its master where the server is, and has to be let in there itself."""

    def start(**_: Any) -> None:
        try:
            check_all_access(environment, access)
        except CannotRun as error:
            sys.stderr.write(f"error: {error}\n")
            environment.process_exit_code = NOT_RUN
            gevent.spawn(environment.runner.quit)

    environment.events.test_start.add_listener(start)


def check_numbers(options: Any) -> None:
    """Raises CannotRun for a flag whose number cannot be meant."""
    above_zero("--rate", options.rate)
    above_zero("--batch", options.batch, LARGEST_BATCH)
    above_zero("--users", options.num_users, MOST_USERS)
    from_zero("--warmup", options.warmup, LONGEST_S)
    from_zero("--check", options.check, 1)
    if options.in_time_ms is not None:
        above_zero("--in-time-ms", options.in_time_ms, 1000 * LONGEST_S)


def _judge_at_the_end(environment: Any, golden: Golden, promise: Promise, recorder: Recorder) -> None:
    """Print both clocks and the verdict when Locust ends, and make the verdict its exit code."""
    options, begun = environment.parsed_options, [(datetime.now(UTC), asked_of(plan_of(environment)))]

    def start(**_: Any) -> None:
        begun[0] = (datetime.now(UTC), asked_of(plan_of(environment)))

    def end(**_: Any) -> None:
        seconds = recorder.watch.wall_s / max(1, recorder.watch.workers)
        (started, asked), plan = begun[0], plan_of(environment)
        run = Finished(plan, {options.model: golden}, started, environment, recorder, None, asked, seconds)
        verdicts = judge(promise, recorder.total())
        found = checks(recorder, verdicts, options.rate, run.seconds, run.plan.pattern)
        content = document(run, {options.model: verdicts}, found)
        show_runs(ERR, [content])
        show_reasons(ERR, content, [str(verdict) for verdict in verdicts if verdict.verdict == "BROKEN"])
        environment.process_exit_code = EXIT_CODES[content["verdict"]]
        if options.results:
            write_outcome(run, {options.model: verdicts}, found, Path(options.results))

    environment.events.test_start.add_listener(start)
    if options.headless:
        environment.events.quitting.add_listener(end)


def plan_of(environment: Any) -> Plan:
    """What Locust's flags ask for."""
    options = environment.parsed_options
    protocols = {vars(user)["protocol"] for user in environment.user_classes}
    own = {field.name: getattr(options, field.name) for field in fields(Plan) if hasattr(options, field.name)}
    both = len(protocols) > 1
    own |= {"protocol": "both" if both else protocols.pop(), "users": options.num_users, "duration_s": 0.0}
    return Plan(**(own | {"artifacts": Path(options.artifacts)}))
