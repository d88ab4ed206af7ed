"""For plain Locust:

locust -f tests/load/locustfile.py --model cnn --rate 100                          # its web page
locust -f tests/load/locustfile.py --model cnn --headless -t 20s TritonGrpcUser
locust -f tests/load/locustfile.py --model cnn --headless -t 20s --processes 2     # or --master and --worker
"""

import os
import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.runners import MasterRunner, WorkerRunner
from rich.console import Console

from loadtest.arrivals import ArrivalsError, read_replay
from loadtest.errors import CannotRun
from loadtest.generator import Generator, collect
from loadtest.golden import Golden, GoldenError, load_golden
from loadtest.locust_stats import be_fine
from loadtest.numbers import LARGEST_BATCH, MOST_USERS, above_zero, from_zero
from loadtest.outcome import document, write_outcome
from loadtest.promises import Promise, PromiseError, promise_of, read_promises
from loadtest.recorder import Recorder
from loadtest.run import Finished, Plan
from loadtest.tables import show_reasons, show_runs
from loadtest.target import LONGEST_S, PROMISES
from loadtest.users import TIMEOUT_S, TritonGrpcUser, TritonHttpUser
from loadtest.verdict import EXIT_CODES, checks, judge

__all__ = ["TritonGrpcUser", "TritonHttpUser"]

POOL = 256

be_fine()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Locust's own flags are all there as well; its --host is not used, its -u is the most users there may be."""
    parser.set_defaults(num_users=POOL, spawn_rate=100)
    group = parser.add_argument_group("Triton")
    group.add_argument("--model", default="cnn", help="The model to send to")
    group.add_argument("--rate", type=float, default=50.0, help="Requests a second, for all users and workers together")
    group.add_argument(
        "--arrivals",
        choices=("poisson", "constant", "closed"),
        default="poisson",
        help="When requests arrive; closed: when the answer before has come (-u 8 is enough)",
    )
    group.add_argument("--replay", default="", help="A file with the times of arrivals instead, seconds, one a line")
    group.add_argument("--warmup", type=float, default=1.0, help="Seconds at the start that are not counted")
    group.add_argument("--batch", type=int, default=1, help="Items in each request")
    group.add_argument("--check", type=float, default=1.0, help="Share of the answers that is compared")
    group.add_argument("--in-time-ms", type=float, default=None, help="Goodput counts answers up to this response time")
    group.add_argument("--seed", type=int, default=0, help="Of the arrivals and the choice of inputs")
    group.add_argument("--http", default=os.environ.get("CONCH_HTTP", "localhost:8000"), help="host:port for HTTP")
    group.add_argument("--grpc", default=os.environ.get("CONCH_GRPC", "localhost:8001"), help="host:port for gRPC")
    group.add_argument("--promises", default=str(PROMISES), help="The file that says what each model promises")
    group.add_argument("--results", default="", help="A folder that gets run.json at the end, in place of what it has")
    artifacts = os.environ.get("CONCH_ARTIFACTS", "artifacts")
    group.add_argument("--artifacts", default=artifacts, help="The folder whose models/ holds the golden answers")


@events.init.add_listener
def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Without anything to send, end with 3 before any user starts."""
    options = environment.parsed_options
    options.duration_s, options.workers, options.scenario = None, 1, ""  # Locust's own --run-time ends the test
    environment.stop_timeout = environment.stop_timeout or TIMEOUT_S  # a request on its way is counted
    try:
        check_numbers(options)
        golden = load_golden(Path(options.artifacts), options.model)
        promise = promise_of(read_promises(Path(options.promises)), options.model, Path(options.promises))
        if options.replay:
            read_replay(Path(options.replay))
    except (CannotRun, GoldenError, PromiseError, ArrivalsError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(3)
    options.in_time_ms = {options.model: promise.in_time_ms if options.in_time_ms is None else options.in_time_ms}
    recorder = collect(environment) if isinstance(runner, MasterRunner) else Generator(environment).recorder
    if not isinstance(runner, WorkerRunner):
        _judge_at_the_end(environment, golden, promise, recorder)


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
    options, started = environment.parsed_options, [datetime.now(UTC)]

    def start(**_: Any) -> None:
        started[0] = datetime.now(UTC)

    def end(**_: Any) -> None:
        seconds = recorder.watch.wall_s / max(1, recorder.watch.workers)
        run = Finished(plan_of(environment), {options.model: golden}, started[0], environment, recorder, None, seconds)
        verdicts = judge(promise, recorder.total())
        found = checks(recorder, verdicts, options.rate, run.seconds, run.plan.pattern)
        content = document(run, {options.model: verdicts}, found)
        console = Console(stderr=True)
        show_runs(console, [content])
        show_reasons(console, content, [str(verdict) for verdict in verdicts if verdict.verdict == "BROKEN"])
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
