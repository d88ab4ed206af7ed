"""What the server does, live: models, versions, requests a second, queue, batch sizes."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from html import escape

from nicegui import ui

from clients import ClientError, ModelState
from clients.server_statistics import Counters, ModelVersion, read_pending, read_providers
from conch.page.elements import alert, html, say, tag
from conch.page.site import READY_S, Site, model_path

EVERY_S = 1.0
REMEMBERED = 60
"""Intervals that a line of requests goes back."""


@dataclass
class Reading:
    """What was read of the server at one moment, and what it counted since the one before."""

    models: list[ModelState]
    counted: dict[ModelVersion, Counters]
    seconds: float
    pending: dict[ModelVersion, int] | None = None
    runs_on: dict[ModelVersion, str] = field(default_factory=dict)
    server: str = ""


class ServerPanel:
    """The table of one browser's page."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._known: dict[ModelVersion, Counters] = {}
        self._at = 0.0
        self._rates: dict[ModelVersion, deque[float]] = defaultdict(lambda: deque([0.0] * REMEMBERED, REMEMBERED))

    def build(self) -> None:
        """Put it where the page is being built."""
        tag("h1", "Server")
        self._said = html(name="p").classes("soft")
        self._alert = alert()
        self._table = html()
        tag(
            "p",
            "Counted by the server each second: requests that were answered, how long they waited and took in all, and "
            "the sizes of its runs, as items x runs.",
            "small soft",
        )
        ui.timer(EVERY_S, self._renew)

    async def _renew(self) -> None:
        try:
            reading = await self.site.wait(self._read)
        except ClientError as error:
            say(self._alert, f"{error}; it is waited for")
            self._table.set_content("")
            return
        say(self._alert, "")
        self._said.set_content(escape(reading.server))
        self._table.set_content(self._html(reading))

    def _read(self) -> Reading:
        """Waits for the server. Raises ClientError."""
        client = self.site.client
        counters, now = client.counters(READY_S), time.monotonic()
        seconds, self._at = now - self._at, now
        known, self._known = self._known, counters
        counted = {key: found.since(known.get(key, found)) for key, found in counters.items()}
        name, version = client.server(READY_S)
        reading = Reading(client.models(READY_S), counted, max(seconds, 1e-3))
        reading.server = f"{name} {version} at {self.site.where.address}"
        if self.site.metrics is not None:
            try:
                reading.pending = read_pending(self.site.metrics, READY_S)
                reading.runs_on = read_providers(self.site.metrics, READY_S)
            except ClientError:  # of which the requests themselves know nothing
                reading.pending = None
        return reading

    def _html(self, reading: Reading) -> str:
        heads = [
            "model",
            "version",
            "state",
            "requests/s",
            "last minute",
            "queue ms",
            "latency ms",
            "failed",
            "batch sizes",
        ]
        heads += ["waiting"] * (reading.pending is not None) + ["runs on"] * bool(reading.runs_on)
        numbers = {"requests/s", "queue ms", "latency ms", "failed", "waiting"}
        tops = "".join(f'<th scope="col"{_right(head in numbers)}>{head}</th>' for head in heads)
        rows = "".join(self._row(entry, reading, heads, numbers) for entry in reading.models)
        return f'<div class="scroll"><table><thead><tr>{tops}</tr></thead><tbody>{rows}</tbody></table></div>'

    def _row(self, entry: ModelState, reading: Reading, heads: list[str], numbers: set[str]) -> str:
        key = entry.name, entry.version
        counted = reading.counted.get(key, Counters())
        rate = counted.requests / reading.seconds
        self._rates[key].append(rate)
        ready = entry.state == "READY"
        name = f'<a href="{model_path(entry.name)}">{escape(entry.name)}</a>' if ready else escape(entry.name)
        state = "ready" if ready else f"{entry.state.lower()} {entry.reason}"
        sizes = " ".join(f"{size}x{count}" for size, count in counted.runs.items())
        cells = {
            "model": name,
            "version": escape(entry.version),
            "state": f'<span class="{"good-text" if ready else "bad-text"}">{escape(state)}</span>',
            "requests/s": f"{rate:.1f}",
            "last minute": _spark(list(self._rates[key])),
            "queue ms": _ms(counted.queue_ms),
            "latency ms": _ms(counted.latency_ms),
            "failed": str(counted.failures),
            "batch sizes": sizes or "-",
            "waiting": str((reading.pending or {}).get(key, 0)),
            "runs on": escape(reading.runs_on.get(key, "?")),
        }
        return "<tr>" + "".join(f"<td{_right(head in numbers)}>{cells[head]}</td>" for head in heads) + "</tr>"


def _spark(rates: list[float]) -> str:
    most = max(*rates, 1e-9)
    points = " ".join(f"{n * 100 / (len(rates) - 1):.1f},{19 - rate / most * 17:.1f}" for n, rate in enumerate(rates))
    label = f"at most {most:.1f} requests a second in the last minute"
    return (
        f'<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<polyline points="{points}" vector-effect="non-scaling-stroke"/></svg>'
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _right(number: bool) -> str:
    return ' class="n"' if number else ""
