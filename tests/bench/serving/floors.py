"""The floors that the speed of serving is held to, and whether each is met."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from tests.bench.serving.contenders import CONCH, FASTAPI_2, PYTRITON
from tests.bench.serving.measure import IN_PROCESS, Measured


@dataclass(frozen=True)
class Floor:
    """Ours serves at least `factor` times what `peer` does, requests/s by medians of the same run."""

    model: str
    connections: int
    peer: str
    factor: float


FLOORS = (
    Floor("cnn", 16, PYTRITON, 4.0),
    Floor("cnn", 16, FASTAPI_2, 1.0),
    Floor("cnn", 64, FASTAPI_2, 1.3),
    Floor("resnet", 64, IN_PROCESS, 0.80),
)
LEAST_ROUNDS = 5


@dataclass(frozen=True)
class FloorCheck:
    """A floor and the factor measured, None where a side was not, or in fewer than `LEAST_ROUNDS` rounds."""

    floor: Floor
    factor: float | None

    @property
    def met(self) -> bool:
        return self.factor is not None and self.factor >= self.floor.factor


def floor_checks(measured: Measured, least_rounds: int = LEAST_ROUNDS) -> list[FloorCheck]:
    """Every floor; what was not measured often enough does not meet its."""
    found = []
    for floor in FLOORS:
        peer_connections = 0 if floor.peer == IN_PROCESS else floor.connections
        ours = throughput(measured, CONCH, floor.model, floor.connections, least_rounds)
        peer = throughput(measured, floor.peer, floor.model, peer_connections, least_rounds)
        found.append(FloorCheck(floor, ours / peer if ours is not None and peer else None))
    return found


def throughput(measured: Measured, name: str, model: str, connections: int, least_rounds: int = 1) -> float | None:
    """The median of requests/s, or None where there are fewer than `least_rounds` samples."""
    samples = measured.samples.get((name, model, connections), [])
    return median(sample.requests_per_s for sample in samples) if len(samples) >= max(1, least_rounds) else None
