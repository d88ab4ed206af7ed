"""A model that takes its time, loaded with several times what it can answer."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import numpy_helper, parser

from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support.graphs import HEADER
from tests.support.loads import result, start

SIZE = 192
PRODUCTS = 120
CALM_S = 3
"""Of the load before and after."""
CALM = 0.07
"""Of the overload's rate, before and after: less than a third of what is answered."""
ROOM = 1.3
"""Times the factor that is planned."""


def write_slow(file: Path, products: int = PRODUCTS) -> Path:
    """A model whose items take some milliseconds each, and no less in a batch: a row of matrix products."""
    steps = "\n".join(f"h{step + 1} = MatMul(h{step}, turn)" for step in range(products))
    model = parser.parse_model(
        HEADER
        + f"""slow (float[batch, 4] x) => (float[batch, 4] y)
        <int64[2] axes = {{1, 2}}, int64[2] column = {{-1, 4}}, float tiny = {{0.001}}>
        {{ wide = Unsqueeze(x, axes)
           total = ReduceSum<keepdims = 1>(wide, last)
           h0 = Mul(total, turn)
           {steps}
           sum = ReduceSum<keepdims = 0>(h{products}, axes_of_products)
           small = Mul(sum, tiny)
           flat = Reshape(small, single)
           y = Add(x, flat) }}"""
    )
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))
    for name, array in {
        "turn": turn.astype(np.float32),
        "last": np.array([3]),
        "axes_of_products": np.array([2, 3]),
        "single": np.array([-1, 1]),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def publish_slow(artifacts: Path, name: str, p99_ms: float, max_batch: int = 8) -> None:
    """Publish it in `artifacts`, which CONCH_ARTIFACTS has to name, under a promise that `conch load` reads there."""
    promise = {name: {"rate": 10, "p99_ms": p99_ms, "error_rate": 0}}
    (artifacts / "promises.yaml").write_text(json.dumps(promise))  # which is YAML
    publish_file(write_slow(artifacts / f"{name}.onnx"), name, artifacts / "models", max_batch)


@dataclass(frozen=True)
class Overload:
    """What a load of several times the capacity showed."""

    capacity: float
    """Requests/s that were answered in time, of a closed loop just before."""
    planned: float
    """Requests/s, in the overload."""
    run: dict[str, Any]
    seconds: int

    @property
    def part(self) -> dict[str, Any]:
        (part,) = self.run["parts"]
        return part

    def counted(self, first: int, last: int) -> tuple[int, int, Counter[float]]:
        """Requests that were to be sent in these seconds, those that got no answer, and the others' times in ms."""
        seconds = [second for second in self.part["series"] if first <= second["t"] < last]
        times: Counter[float] = Counter()
        for second in seconds:
            times.update(dict(second["response"]))
        return sum(s["requests"] for s in seconds), sum(s["failures"] for s in seconds), times

    @property
    def sent(self) -> float:
        """Requests/s that were sent while it lasted."""
        return self.counted(CALM_S, CALM_S + self.seconds)[0] / self.seconds

    @property
    def served(self) -> float:
        """Requests/s that were answered of those."""
        sent, failed, _ = self.counted(CALM_S, CALM_S + self.seconds)
        return (sent - failed) / self.seconds

    @property
    def p99_ms(self) -> float:
        """Of those that were answered."""
        return quantile(self.counted(CALM_S, CALM_S + self.seconds)[2], 0.99)

    def memory(self) -> tuple[float, float]:
        """Mean resident MiB of the server in the first and in the last third of the overload."""
        samples = [
            (sample["t"], sample["rss_bytes"] / 2**20)
            for sample in self.run["server"]["samples"]
            if "rss_bytes" in sample and CALM_S <= sample["t"] < CALM_S + self.seconds
        ]
        third = max(1, len(samples) // 3)
        return tuple(float(np.mean([mib for _, mib in part])) for part in (samples[:third], samples[-third:]))  # type: ignore[return-value]


def quantile(times: Counter[float], share: float) -> float:
    """The time within which this share of the answers came."""
    total, seen = sum(times.values()), 0
    for upper, count in sorted(times.items()):
        seen += count
        if seen >= share * total:
            return float(upper)
    return float("nan")


def overload(server: Server, artifacts: Path, model: str, protocol: str, factor: float, seconds: int) -> Overload:
    """Load `model` for so many seconds, between two calm whiles, with at least `factor` times what it answers then.

    What it answers is not known before: where other programs slowed down what was measured just before, it is loaded
    again, twice at most.
    """
    closed = ("--arrivals", "closed", "--users", "16", "--rate", "100000", "--duration", "3s", "--warmup", "1s")
    _, _, calm = result(
        start(server, artifacts, "run", model, "--protocol", protocol, *closed), artifacts / "report" / "load" / model
    )
    capacity = float(calm["goodput_per_s"])
    rate = ROOM * factor * capacity
    for _ in range(3):
        found = Overload(capacity, rate, _mixed(server, artifacts, model, protocol, rate, seconds), seconds)
        if found.sent >= factor * found.served:
            break
        rate = ROOM * factor * found.served
    return found


def _mixed(
    server: Server, artifacts: Path, model: str, protocol: str, rate: float, seconds: int
) -> dict[str, Any]:  # fmt: skip
    """run.json of a load of CALM, then `rate` requests/s, then CALM."""
    scenario = {
        "duration": f"{2 * CALM_S + seconds}s",
        "rate": CALM * rate,
        "spikes": [{"start": CALM_S, "end": CALM_S + seconds, "rate": rate}],
        "users": 1024,
        "models": {model: {"weight": 1, "protocol": protocol}},
    }
    (artifacts / "overload.yaml").write_text(yaml.safe_dump(scenario))
    process = start(server, artifacts, "mix", str(artifacts / "overload.yaml"))
    _, _, run = result(process, artifacts / "report" / "load-mix" / "overload")
    return run
