"""A server for the simulation, made from a measured curve, and how well it repeats that curve.

What Triton says of its executions gives the time of a batch by its size. Three things it does not say, and they are
chosen so that the simulation of one server repeats the curve: which part of an idle server's answer keeps the instance
busy beyond the execution, which part of its spread does, and how much of both is left when the server is idle no more:
a processor that sleeps between requests wakes slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.errors import CannotRun
from loadtest.sizing.curve import Curve, Point
from loadtest.sizing.simulation import Server, simulate

BELIEVED = 0.8  # load of a server; above it neither a measured nor a simulated tail is steady
RUN_AT = 0.2  # load below which nobody leaves a server, and where a sleeping processor makes answers slower
IDLE = 0.35  # load of the lowest point, at most: its answers are taken for those of an idle server
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEFT = (0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
REQUESTS = 5_000


@dataclass(frozen=True)
class Repeated:
    """One measured rate beside the simulation of it, in ms; `load` as a share of the capacity."""

    rate: float
    load: float
    measured_ms: float
    simulated_ms: float

    @property
    def error(self) -> float:
        """Of the simulation, as a share of what was measured."""
        return self.simulated_ms / self.measured_ms - 1


@dataclass(frozen=True)
class Calibrated:
    """A server and what is known of it.

    Attributes:
        server: For the simulation.
        idle_ms: The percentile of an answer when next to nothing is asked.
        ceiling: Requests/s that it is given at most: as measured, and below `BELIEVED` of its capacity.
        repeated: The measured curve beside the simulated one.
    """

    server: Server
    idle_ms: float
    ceiling: float
    repeated: tuple[Repeated, ...]

    @property
    def worst_error(self) -> float:
        """The largest error at the loads that servers are run at, `RUN_AT` to `BELIEVED`, as a share; 0 without any."""
        return max((abs(point.error) for point in self.repeated if RUN_AT <= point.load <= BELIEVED), default=0.0)


def calibrate(curve: Curve, percent: float) -> Calibrated:
    """Raises CannotRun where the lowest rate of the curve was no idle server."""
    execution = _execution_s(curve)
    idle = curve.points[0]
    busy = idle.rate * execution[1] / curve.instances
    if busy > IDLE:
        raise CannotRun(
            f"{curve.model}: at {idle.rate:.0f}/s, the lowest usable rate, the server is {busy:.0%} busy, at most "
            f"{IDLE:.0%} is taken for idle; measure again from a lower --start and with a longer --duration"
        )
    server = _fitted(curve, execution, percent)
    # Where it broke down is measured; the server of the simulation can be better than that by its own errors alone.
    ceiling = min(BELIEVED * server.capacity, curve.points[-1].rate)
    return Calibrated(server, idle.percentile_ms(percent), ceiling, _repeat(curve.points, server, percent))


def _execution_s(curve: Curve) -> NDArray[np.float64]:
    """Seconds of an execution by its requests, [most + 1]: a line through the measured sizes, by how often each was."""
    sizes, taken, weights = [], [], []
    for point in curve.points:
        for size, batch_ms in point.batch_ms.items():
            sizes.append(size / curve.batch)
            taken.append(batch_ms / 1000)
            weights.append(math.sqrt(point.executions.get(size, 0)))
    all_sizes, all_taken = np.array(sizes), np.array(taken)
    if np.ptp(all_sizes) == 0:  # never two together: that would take as long as one after the other
        slope, base = all_taken.mean() / all_sizes[0], 0.0
    else:
        slope, base = np.polyfit(all_sizes, all_taken, 1, w=weights)
        slope = max(slope, 0.0)
        base = max(np.average(all_taken - slope * all_sizes, weights=np.square(weights)), 0.0)
    return np.asarray(base + slope * np.arange(curve.max_batch + 1))


def _fitted(curve: Curve, execution: NDArray[np.float64], percent: float) -> Server:
    """The server whose simulation comes nearest to the curve, by one share after the other, twice."""
    choices = {"held": SHARES, "spread": SHARES, "left": LEFT}
    best = {"held": 0.0, "spread": 0.0, "left": 1.0}
    for name in (*choices, *choices):

        def distance(value: float, name: str = name) -> float:
            return _distance(curve, _server(curve, execution, **best | {name: value}), percent)

        best[name] = min(choices[name], key=distance)
    return _server(curve, execution, **best)


def _server(curve: Curve, execution: NDArray[np.float64], held: float, spread: float, left: float) -> Server:
    """With these shares: `held` of an idle answer's time outside the execution and `spread` of its spread in the
    instance, after `left` of both is left."""
    took = curve.points[0].took_ms / 1000
    mean = took.mean()
    outside = left * max(mean - execution[1], 0.0)
    away = left * (took - mean)
    busy = execution + held * outside
    busy[0] = 0.0
    way = np.maximum((1 - held) * outside + (1 - spread) * away, 0.0)
    return Server(curve.instances, busy, curve.delay_ms / 1000, spread * away, way)


def _distance(curve: Curve, server: Server, percent: float) -> float:
    """Mean distance of the logarithms, of the median and the percentile, at the points that are to be believed."""
    if server.capacity < curve.points[-1].rate:  # more was measured
        return math.inf
    points = [point for point in curve.points if point.rate <= BELIEVED * server.capacity] or list(curve.points[:1])
    found = []
    for point in points:
        answers = simulate(server, 1, point.rate, REQUESTS)
        for each in {50.0, percent}:
            found.append(abs(math.log(answers.percentile_ms(each) / point.percentile_ms(each))))
    return float(np.mean(found))


def _repeat(points: tuple[Point, ...], server: Server, percent: float) -> tuple[Repeated, ...]:
    return tuple(
        Repeated(
            point.rate, point.rate / server.capacity, point.percentile_ms(percent),
            simulate(server, 1, point.rate, 8 * REQUESTS, seed=1).percentile_ms(percent),
        )
        for point in points
    )  # fmt: skip
