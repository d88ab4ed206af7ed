"""conch call watch

conch call watch cnn --interval 5s --count 12 --json
"""

import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clients.access import Door
from clients.address import Address, resolve
from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import BadCommand
from clients.errors import ClientError, Unreachable
from clients.server_statistics import Counters, ModelVersion, read_pending
from clients.terminal import Terminal, print_json, say

SECONDS = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
MOST_SIZES = 4
"""Batch sizes in a cell of the table; lines and JSON have all."""


@dataclass(frozen=True)
class Interval:
    """What a server counted between two readings, `seconds` apart, and what waited at the second."""

    address: Address
    at: datetime
    seconds: float
    counted: Mapping[ModelVersion, Counters]
    pending: Mapping[ModelVersion, int] | None

    def busiest_first(self) -> list[tuple[ModelVersion, Counters]]:
        """The models in the order of their requests, idle ones by name."""
        return sorted(self.counted.items(), key=lambda entry: (-entry[1].requests - entry[1].failures, entry[0]))


@dataclass(frozen=True, kw_only=True)
class Watch(Endpoint):
    """Show what each model does while it does it: requests, times, failures and batch sizes, an interval at a time.

    A table that renews itself on a terminal, elsewhere a line for each model that was asked. It ends after --count
    intervals or with Ctrl-C, and waits for a server that goes away.

    Times and failures are those that the server counts: not the way to it, and not what it refuses before a model sees
    it, as a wrong shape or a request for a full queue.

    conch call watch cnn --interval 5s --count 12 --json
    """

    models: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL ...]", help_behavior_hint="")
    ] = ()
    """Those to be watched; default: all."""

    interval: str = "1s"
    """As 500ms, 1s or 2m."""

    count: int | None = None
    """End after this many intervals; default: go on until Ctrl-C."""

    metrics: str | None = None
    """host:port of the server's metrics, which say how many requests wait; default: $CONCH_METRICS, else that is left
    out."""

    def run(self, client: Client, console: Console) -> int:
        seconds = _seconds(self.interval)
        if self.count is not None and self.count < 1:
            raise BadCommand(f"--count {self.count}: allowed are 1 and more")
        for model in self.models:
            client.metadata(model)  # raises for one that the server has not
        last: Interval | Unreachable | None = None
        try:
            with ExitStack() as stack:
                servers = self._servers(stack)
                intervals = itertools.islice(self._intervals(servers, seconds), self.count)
                for interval in self._shown(intervals, Terminal()):
                    last = interval
        except KeyboardInterrupt:
            if self.count is not None:
                raise
        if isinstance(last, Unreachable):
            raise last
        return 0

    def _servers(self, stack: ExitStack) -> dict[Address, Client]:
        """A client for each, whose counters would be mixed by one for all; closed with `stack`."""
        return {
            resolve(url, self.protocol): stack.enter_context(
                closing(self.access.connect(url, self.protocol, self.timeout, attempts=1))
            )
            for url in self.url or (None,)
        }

    def _intervals(self, servers: Mapping[Address, Client], seconds: float) -> Iterator[Interval | Unreachable]:
        """One after the other, for ever; raises Unreachable where nobody answers at the very beginning."""
        known: dict[Address, tuple[float, dict[ModelVersion, Counters]]] = {}
        pending_of = self._metrics(next(iter(servers)))
        address, counters = self._read(servers)
        due = time.monotonic()
        known[address] = due, counters
        while True:
            due = max(due + seconds, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                address, counters = self._read(servers)
            except Unreachable as error:
                yield error
                continue
            now = time.monotonic()
            before, past = known.get(address, (now, counters))
            known[address] = now, counters
            counted = {key: found.since(past.get(key, Counters())) for key, found in counters.items()}
            yield Interval(address, datetime.now().astimezone(), now - before, counted, self._pending(pending_of))

    def _read(self, servers: Mapping[Address, Client]) -> tuple[Address, dict[ModelVersion, Counters]]:
        """Of the first that answers. Raises Unreachable as the last did."""
        *others, last = servers
        for address in others:
            with suppress(Unreachable):
                return address, self._chosen(servers[address].counters())
        return last, self._chosen(servers[last].counters())

    def _chosen(self, counters: Mapping[ModelVersion, Counters]) -> dict[ModelVersion, Counters]:
        return {key: counted for key, counted in counters.items() if not self.models or key[0] in self.models}

    def _metrics(self, server: Address) -> Door | None:
        """Where they are. Raises Unreachable and Refused for a place that was named and has none."""
        named = self.metrics or os.environ.get("CONCH_METRICS")
        if not named:
            return None
        door = self.access.metrics_door(resolve(named, "http"), server)
        if self.metrics is not None:
            read_pending(door, self.timeout)
        return door

    def _pending(self, metrics: Door | None) -> dict[ModelVersion, int] | None:
        if metrics:
            with suppress(ClientError):
                return read_pending(metrics, self.timeout)
        return None

    def _shown(
        self, intervals: Iterable[Interval | Unreachable], console: Terminal
    ) -> Iterator[Interval | Unreachable]:
        """Each of them when it has been shown."""
        if self.json or not console.file.isatty():
            told = ""
            for interval in intervals:
                if self.json:
                    print_json(_document(interval), indent=None)
                elif isinstance(interval, Interval):
                    for line in _lines(interval):
                        console.print(line, markup=False, highlight=False, soft_wrap=True)
                elif str(interval) != told:
                    say(f"error: {interval}; it is waited for")
                told = str(interval) if isinstance(interval, Unreachable) else ""
                console.file.flush()
                yield interval
            return
        with Live(console=console, auto_refresh=False) as live:
            for interval in intervals:
                live.update(_screen(interval, console), refresh=True)
                yield interval


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|)", text)
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if not 0.01 <= seconds <= 86_400:
        raise BadCommand(f"--interval {text}: allowed are 10ms to 24h, as 500ms, 1s or 2m")
    return seconds


def _per_second(interval: Interval, count: int) -> float:
    return count / interval.seconds if interval.seconds else 0.0


def _document(interval: Interval | Unreachable) -> dict[str, Any]:
    if isinstance(interval, Unreachable):
        return {"time": datetime.now().astimezone().isoformat(), "error": str(interval), "models": []}
    models = [
        {
            "name": name,
            "version": version,
            "requests_per_s": _per_second(interval, counted.requests),
            "failures": counted.failures,
            "queue_ms": counted.queue_ms,
            "latency_ms": counted.latency_ms,
            "batch_sizes": counted.runs,
            "pending": (interval.pending or {}).get((name, version)),
        }
        for (name, version), counted in interval.busiest_first()
    ]
    found = {"time": interval.at.isoformat(), "server": str(interval.address), "seconds": interval.seconds}
    return found | {"models": models}


def _lines(interval: Interval) -> Iterator[str]:
    """A line for each model that was asked, to be read and searched without a head; one where none was."""
    at = interval.at.strftime("%H:%M:%S")
    asked = [(key, counted) for key, counted in interval.busiest_first() if counted.requests or counted.failures]
    for (name, version), counted in asked:
        sizes = ",".join(f"{size}x{count}" for size, count in counted.runs.items()) or "-"
        waiting = "" if interval.pending is None else f" pending={interval.pending.get((name, version), 0)}"
        yield (
            f"{at} {name} {version} requests/s={_per_second(interval, counted.requests):.1f} "
            f"queue_ms={_ms(counted.queue_ms)} latency_ms={_ms(counted.latency_ms)} failures={counted.failures} "
            f"batches={sizes}{waiting}"
        )
    if not asked:
        yield f"{at} no requests"


def _screen(interval: Interval | Unreachable, console: Terminal) -> Group:
    if isinstance(interval, Unreachable):
        return Group(Text(f"error: {interval}; it is waited for"))
    table = Table(box=SIMPLE)
    table.add_column("model", no_wrap=True)
    heads = ["requests\n/s", "queue\nms", "latency\nms", "failures"] + ["pending"] * (interval.pending is not None)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("batch sizes\nx runs")
    for (name, version), counted in interval.busiest_first():
        pending = [] if interval.pending is None else [str(interval.pending.get((name, version), 0))]
        table.add_row(
            Text(f"{name} {version}"),
            f"{_per_second(interval, counted.requests):.1f}",
            _ms(counted.queue_ms),
            _ms(counted.latency_ms),
            Text(str(counted.failures), style="red" if counted.failures else ""),
            *pending,
            _commonest(counted.runs),
        )
    head = f"{interval.address}  {interval.at:%H:%M:%S}  {interval.seconds:.1f} s  Ctrl-C ends"
    return Group(Text(head, style="dim"), console.whole(table))


def _commonest(runs: Mapping[int, int]) -> str:
    most = sorted(runs.items(), key=lambda entry: -entry[1])
    shown = [f"{size}x{count}" for size, count in most[:MOST_SIZES]]
    return " ".join([*shown, f"and {len(most) - MOST_SIZES} more"] if len(most) > MOST_SIZES else shown)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
