"""What all commands that make load have in common: where the server is, what it serves, and a plan for one model."""

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import tyro
from locust.util.timespan import parse_timespan
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from clients.access import Access
from clients.address import Address, Protocol, resolve
from clients.errors import ClientError
from conch.command_line import ERR, print_json
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.promises import Known, Promise, promise_files, read_promises
from loadtest.arrivals import ArrivalsError, Pattern, read_replay
from loadtest.errors import CannotRun
from loadtest.golden import Golden, load_golden
from loadtest.numbers import LARGEST_BATCH, MOST_USERS, above_zero, from_zero
from loadtest.run import Finished, Plan, Protocols, run_load
from loadtest.served import served_config, served_versions
from loadtest.stopping import Stop

CLOSED_USERS = 8
PROTOCOL_OF: dict[str, Protocol] = {"http": "http", "grpc": "grpc", "metrics": "http"}
"""What is spoken at each address that a load is given."""
LONGEST_S = 365 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Printing:
    """How a command says what it found."""

    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""

    def print_if_json(self, found: Any) -> None:
        """Print `found` where it is asked for; the console of the command says nothing then."""
        if self.json:
            print_json(found)


@dataclass(frozen=True, kw_only=True)
class Served(Printing):
    """Where the server is, what is promised of it, and where its golden answers are."""

    url: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """As of conch call, in place of --http and --grpc: host:port, http://host:port or grpc://host:port, with TLS
    https:// or grpcs://; one for each protocol."""

    http: str = field(default_factory=lambda: os.environ.get("CONCH_HTTP") or "localhost:8000")
    """The server's address for HTTP, http://host:port or host:port, with TLS https://host:port."""

    grpc: str = field(default_factory=lambda: os.environ.get("CONCH_GRPC") or "localhost:8001")
    """The server's address for gRPC, grpc://host:port or host:port, with TLS grpcs://host:port."""

    metrics: str = field(default_factory=lambda: os.environ.get("CONCH_METRICS") or "localhost:8002")
    """The server's address for its metrics, as the one for HTTP; where nothing answers they are left out."""

    access: tyro.conf.OmitArgPrefixes[Access] = Access()  # noqa: RUF009  # frozen
    """How the server lets the load in."""

    promises: Path | None = None
    """The file that says what each model promises. Default: promises.yaml in the working folder, then in artifacts,
    then that of the shipped models."""

    artifacts: Path = field(default_factory=artifacts_folder)
    """The folder whose models/ holds the golden answers and whose report/ gets the results."""

    def __post_init__(self) -> None:
        """Addresses have their prefix from here on, as http://host:port. Raises CannotRun for one that is none."""
        for address in self.named():
            object.__setattr__(self, address.protocol, str(address))
        for flag in PROTOCOL_OF:
            object.__setattr__(self, flag, str(address_of(flag, getattr(self, flag))))

    def named(self, protocol: Protocol | None = None) -> list[Address]:
        """The addresses of --url; `protocol` is that of one without a prefix. Raises CannotRun."""
        try:
            found = [resolve(one, protocol) for one in self.url]
        except ClientError as error:
            raise CannotRun(f"--url {error}") from error
        if len({address.protocol for address in found}) < len(found):
            raise CannotRun(f"--url {' --url '.join(self.url)}: a load goes to one server, by one address a protocol")
        return found

    def address(self, protocol: Protocol) -> Address:
        """Where the server is for one protocol."""
        return resolve(getattr(self, protocol), protocol)

    def promised(self) -> Known:
        """Raises PromiseError for a file that cannot be read."""
        return read_promises(promise_files(self.promises, self.artifacts))


@dataclass(frozen=True, kw_only=True)
class Target(Served):
    """The flags of every load."""

    protocol: Protocols | None = None
    """What the users speak; both: half of the requests each. Default: that of --url, else http."""

    users: int | None = None
    """The most callers there may be at once, each with a connection once it is needed: running out of them makes the
    run INVALID. Default: 256; in a closed loop, where it is the number of requests under way, 8."""

    batch: int = 1
    """Items in each request."""

    arrivals: Pattern = "poisson"
    """When requests arrive: at random, at equal distances, or (closed) when a user has got its answer and its pace
    allows."""

    replay: Path | None = None
    """A file with the times of arrivals instead: seconds from the start, one a line."""

    warmup: str = "1s"
    """Time before the counted one, with the same load."""

    check: float = 1.0
    """Share of the answers that is compared with the golden ones."""

    seed: int = 0
    """Of the arrivals and the choice of inputs."""

    def named(self, protocol: Protocol | None = None) -> list[Address]:
        """As the protocol that is asked for has them."""
        return super().named(None if self.protocol == "both" else self.protocol)

    @property
    def spoken(self) -> list[Protocol]:
        """The protocols of the users."""
        if self.protocol is None:
            return sorted({address.protocol for address in self.named()}, reverse=True) or ["http"]
        return ["http", "grpc"] if self.protocol == "both" else [self.protocol]

    @property
    def protocols(self) -> Protocols:
        """The same as a plan has them."""
        return "both" if len(self.spoken) > 1 else self.spoken[0]

    def check_numbers(self) -> None:
        """Raises CannotRun for a flag whose number cannot be meant."""
        above_zero("--batch", self.batch, LARGEST_BATCH)
        from_zero("--check", self.check, 1)
        if self.users is not None:
            above_zero("--users", self.users, MOST_USERS)
        timespan("--warmup", self.warmup)

    def results(self) -> Path:
        """Where results go; raises CannotRun where nothing can be written."""
        folder = self.artifacts / "report" / "load"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotRun(f"cannot write {folder}: {error.strerror or error}") from error
        return folder

    def check_served(self, models: list[str], in_sequences: bool = False) -> None:
        """Raises CannotRun for a model that is not served in the version whose golden answers we have, or not in the
        form that they have; that keeps a state and is not to be asked in sequences; that takes no such batch."""
        served = self.served()
        for model in models:
            if model not in served:
                raise CannotRun(f"the server has no model {model!r}; it has: {', '.join(sorted(served)) or 'none'}")
            golden = load_golden(self.artifacts, model)
            if golden.version not in served[model]:
                raise CannotRun(
                    f"the server has {model} in version {', '.join(served[model])}, but the golden answers at hand are "
                    f"of version {golden.version}: conch rollout {model} brings it to a running server, or serve "
                    f"{self.artifacts / 'models'} anew"
                )
            if not in_sequences:
                check_alone(golden, self.batch)
            self._check_form(golden)
            if not golden.repeatable:
                _tell(f"{model} has other answers to the same inputs each time: they are not compared")

    def _check_form(self, golden: Golden) -> None:
        """Raises CannotRun where the server, started before config.pbtxt was changed or over another one, expects
        requests of another form, or of fewer items."""
        config = self.config(golden.model)
        most = int(config.get("max_batch_size", 0))
        served = {
            "max_batch_size": most > 0,
            "sequence_batching": "sequence_batching" in config,
            "input": sorted(entry["name"] for entry in config.get("input", [])),
            "output": sorted(entry["name"] for entry in config.get("output", [])),
        }
        known = golden.requests
        sent = {
            "max_batch_size": known is None or known.max_batch_size > 0,
            "sequence_batching": known is not None and known.in_sequences,
            "input": sorted(golden.inputs),
            "output": sorted(golden.outputs),
        }
        if differing := [field for field in served if served[field] != sent[field]]:
            raise CannotRun(
                f"the server has {golden.model} with another {', '.join(differing)} than "
                f"{self.artifacts / 'models' / golden.model / 'config.pbtxt'} says: start it again over that folder"
            )
        _check_batch(self.batch, max(most, 1), golden.model)

    def served_as(self, model: str) -> dict[str, Any]:
        """How the server runs it: `instances`, `max_batch` (items of one execution that are of several requests; 1
        where it does not put them together) and `delay_ms` (for which it waits for more of them)."""
        config = self.config(model)
        groups = [group for group in config.get("instance_group", []) if not group.get("passive")]
        batching = config.get("dynamic_batching")
        return {
            "instances": sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in groups) or 1,
            "max_batch": max(1, int(config.get("max_batch_size", 0))) if batching is not None else 1,
            "delay_ms": int((batching or {}).get("max_queue_delay_microseconds", 0)) / 1000,
        }

    def config(self, model: str) -> dict[str, Any]:
        """The configuration of a model as the server has it. Raises CannotRun."""
        return served_config(self.address(self.spoken[0]), self.access, model)

    def served(self) -> dict[str, list[str]]:
        """What all of the protocols asked for can reach. Raises CannotRun where one is not, or lets nobody in."""
        return [served_versions(self.address(protocol), self.access) for protocol in self.spoken][-1]

    def plan(self, model: str, rate: float, duration: str, in_time_ms: float | None = None) -> Plan:
        """Raises CannotRun for what cannot be."""
        seconds, warmup = timespan("--duration", duration), timespan("--warmup", self.warmup)
        users = self.users if self.users is not None else CLOSED_USERS if self.arrivals == "closed" else 256
        # Of both protocols each needs a user.
        users = max(users, len(self.spoken))
        self.check_numbers()
        above_zero("--rate", rate)
        above_zero("--duration", seconds, LONGEST_S)
        if self.replay is not None:
            if self.arrivals == "closed":
                raise CannotRun("--replay has the times of an open loop: leave out --arrivals closed")
            try:
                read_replay(self.replay)
            except ArrivalsError as error:
                raise CannotRun(str(error)) from error
        return Plan(
            model=model,
            rate=rate,
            duration_s=seconds,
            protocol=self.protocols,
            users=users,
            batch=self.batch,
            http=self.http,
            grpc=self.grpc,
            metrics=self.metrics,
            access=self.access,
            artifacts=self.artifacts,
            arrivals=self.arrivals,
            replay=str(self.replay) if self.replay else "",
            warmup=warmup,
            check=self.check,
            in_time_ms={model: in_time_ms},
            seed=self.seed,
        )


def check_alone(golden: Golden, batch: int) -> None:
    """Raises CannotRun where the model, by its config.pbtxt, does not take requests of so many items by themselves."""
    requests = golden.requests
    if requests is not None and requests.in_sequences:
        raise CannotRun(f"{golden.model} keeps a state between requests: give it a stream in a scenario (mix FILE)")
    if requests is not None:
        _check_batch(batch, requests.most_items, golden.model)


def _check_batch(batch: int, most: int, model: str) -> None:
    if batch > most:
        raise CannotRun(f"--batch {batch}: {model} takes at most {most} in a request (max_batch_size)")


@cache
def _tell(sentence: str) -> None:
    """Once, however often it is asked for."""
    ERR.print(sentence)


@dataclass(frozen=True, kw_only=True)
class ModelLoad(Target):
    """The flags of a load at one rate."""

    model: Annotated[str, tyro.conf.Positional]
    """A model of the promises, or all: those that the server has, one after another."""

    rate: float | None = None
    """Requests a second, for all users together; default: the model's rate in the promises."""

    duration: str = "20s"
    """How long is counted, for each model: 20s, 2m, 1h30m."""


def address_of(flag: str, text: str) -> Address:
    """What a person gives for one of `PROTOCOL_OF`; raises CannotRun naming the flag."""
    try:
        return resolve(text, PROTOCOL_OF[flag])
    except ClientError as error:
        raise CannotRun(f"--{flag} {error}") from error


def timespan(flag: str, text: str) -> float:
    """Seconds of 20s, 2m or 1h30m; raises CannotRun naming the flag."""
    try:
        return float(parse_timespan(text))
    except ValueError as error:
        raise CannotRun(f"{flag} {text}: expected 20s, 2m or 1h30m") from error


def rate_of(promise: Promise, rate: float | None) -> float:
    """The rate asked for, or the promised one."""
    return promise.rate if rate is None else rate


def run_with_progress(plan: Plan, stop: Stop, what: str = "") -> Finished:
    """Run it until it is done or told to end, with a bar on the terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    # Drawing takes time from the users, so it is done seldom.
    shown = ERR.is_terminal
    with Progress(*columns, console=ERR, transient=True, refresh_per_second=2, disable=not shown) as bar:
        task = bar.add_task(what or plan.model, total=plan.duration_s + plan.warmup)

        def tick(seconds: float, run: Finished) -> None:
            total = run.environment.stats.total
            text = f"{what or plan.model}: {total.num_requests} answered, {total.num_failures} bad"
            bar.update(task, completed=seconds, description=text)

        return run_load(plan, stop, tick)
