"""The answer to one question for all kinds of servers: a document, and what of it goes on the screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.errors import CannotRun
from loadtest.sizing.calibration import BELIEVED, RUN_AT, Calibrated, calibrate
from loadtest.sizing.curve import Curve, read_curve
from loadtest.sizing.fleet import SURVIVALS, Fleet, Question, Survive, check_idle
from loadtest.sizing.kinds import HOURS, Kind

MOST_ERROR = 0.2  # of the simulation of one server against its own curve; beyond it a sentence says so
SIZES = (1, 2, 3, 4, 6, 8, 10, 16, 32, 64, 100, 200, 500, 1000, 2000, 5000, 10000)
LOADS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8)
DRAWN_FLEETS = (1, 2, 8, 32)

Progress = Callable[[str], None]
"""Told what is computed next."""


@dataclass(frozen=True)
class Demand:
    """Requests/s now of `model` (empty: of whichever was measured), their growth a month as a share, and for how many
    months ahead."""

    model: str
    rate: float
    growth: float
    months: int


def answer_for(kind: Kind, question: Question, survive: Survive, demand: Demand, tell: Progress) -> dict[str, Any]:
    """Of one kind; docs/json.md has the keys. Raises CannotRun where it cannot keep the promise, or its profile is not
    enough."""
    tell(f"{kind.name}: a server like the measured one")
    curve = read_curve(kind.profile, question.percent)
    if demand.model not in ("", curve.model):
        raise CannotRun(f"{kind.profile} is the profile of {curve.model!r}, not of {demand.model!r}")
    check_idle(curve, question)
    calibrated = calibrate(curve, question.percent)
    fleet = Fleet(calibrated, question)
    tell(f"{kind.name}: how many")
    needed = {each: fleet.servers_for(demand.rate, each) for each in SURVIVALS if each != "zone" or question.zones > 1}
    servers = needed[survive]
    tell(f"{kind.name}: what {servers} do")
    states = {each: fleet.state(servers, demand.rate, each) for each in SURVIVALS}
    failure = fleet.failure(servers, demand.rate, survive)
    months = []
    for month in range(demand.months + 1):
        rate = demand.rate * (1 + demand.growth) ** month
        count = fleet.servers_for(rate, survive)
        months.append({"month": month, "rate": round(rate, 1), "servers": count, "price": _price(kind, count)})
    tell(f"{kind.name}: curves")
    return {
        "kind": kind.name,
        "profile": str(kind.profile),
        "machine": curve.machine,
        "idle_ms": calibrated.idle_ms,
        "capacity_per_s": calibrated.server.capacity,
        "most_per_s": fleet.rate_of_one(servers),
        "needed": needed,
        "servers": servers,
        "price": _price(kind, servers),
        "states": {each: asdict(state) if state else None for each, state in states.items()},
        "failure": asdict(failure) if failure else None,
        "months": months,
        "curve": [
            {"servers": count, **{each: fleet.keeps(count, each) for each in SURVIVALS}} for count in SIZES
        ],
        "latency": [
            {"servers": count, "points": [[load, _latency(fleet, count, load)] for load in LOADS]}
            for count in DRAWN_FLEETS
        ],
        "model": [asdict(point) for point in calibrated.repeated],
        "doubts": doubts(curve, calibrated),
    }  # fmt: skip


def _latency(fleet: Fleet, servers: int, load: float) -> float:
    return fleet.percentile_ms(servers, load * fleet.kind.server.capacity)


def _price(kind: Kind, servers: int) -> float | None:
    """A month of them."""
    return None if kind.price_per_hour is None else round(servers * kind.price_per_hour * HOURS, 2)


def doubts(curve: Curve, calibrated: Calibrated) -> list[str]:
    """Why the answer may be wrong, a sentence each."""
    found = []
    if calibrated.worst_error > MOST_ERROR:
        found.append(
            f"the simulation of one server is up to {calibrated.worst_error:.0%} off its own curve between "
            f"{RUN_AT:.0%} and {BELIEVED:.0%} load: measure again, longer and on a quiet machine"
        )
    highest = curve.points[-1].rate
    if highest < BELIEVED * calibrated.server.capacity:
        found.append(
            f"the curve ends at {highest:.0f}/s, {highest / calibrated.server.capacity:.0%} of what its executions "
            f"allow: no server is given more than that"
        )
    return found + [f"left out of the curve: {reason}" for reason in curve.unusable]


def cheapest(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The kind that costs least; without prices, the one of which the fewest are needed."""
    return min(answers, key=lambda one: (one["price"] is None, one["price"] or 0.0, one["servers"]))
