"""Profiles of servers that are known, made by simulation instead of a load: what `conch load profile` would write."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.sizing.simulation import Answers, Server, simulate

BASE_S, ROW_S, BATCH = 0.004, 0.001, 8
WAY = np.random.default_rng(3).gamma(4, 0.0002, 5000)  # network and client: 0.8 ms in the mean
RATES = (30, 60, 120, 240, 400)  # of a capacity of 667/s


def known_server(instances: int = 1) -> Server:
    """A batch takes 4 ms and 1 ms for each row; an answer some more on its way."""
    busy = np.append(0.0, BASE_S + ROW_S * np.arange(1, BATCH + 1))
    return Server(instances, busy, way_s=WAY)


def profile_of(server: Server, **changes: Any) -> dict[str, Any]:
    """The content of a profile's JSON file; `changes` are of the document."""
    sizes = np.arange(1, server.most + 1)
    batch_ms = {str(size): float(server.busy_s[size] * 1000) for size in sizes}
    split = {"batch_ms": batch_ms, "batches": {str(size): 100 for size in sizes}}
    found = {
        "model": "known",
        "points": [_point(rate, simulate(server, 1, rate, 20_000, seed=7), split) for rate in RATES],
        "batch": 1,
        "served": {"instances": server.instances, "max_batch": server.most, "delay_ms": server.delay_s * 1000},
        "machine": {"cpu": "simulated", "cores": 1},
    }
    return found | changes


def _point(rate: float, answers: Answers, split: dict[str, Any]) -> dict[str, Any]:
    took = np.round(answers.took_s * 1000, 2)
    bounds, counts = np.unique(took, return_counts=True)
    return {
        "rate": rate,
        "requests": len(took),
        "failures": 0,
        "exhausted": 0,
        "late_share": 0.01,
        "latency_ms": {"p50": float(np.median(took))},
        "histogram": list(zip(bounds.tolist(), counts.tolist(), strict=True)),
        "server": split,
    }


def write_profile(path: Path, profile: dict[str, Any]) -> Path:
    """As the command writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(profile))
    return path
