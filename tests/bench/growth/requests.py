"""Larger requests, and more clients at once."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clients import connect
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.bench.growth.curve import Curve
from tests.bench.growth.graphs import FEATURES, write_convolutions, write_dense, write_recurrent
from tests.bench.serving.wrk import Call, drive

ROWS = (1, 4, 16, 64, 256)
SIDES = (16, 32, 64, 128, 256, 512)
STEPS = (4, 16, 64, 256, 1024)
CONNECTIONS = (1, 10, 100, 500, 1000, 2000)
CALL_SECONDS, LOAD_SECONDS = 2.0, 6
CLOSED = "each asks again when it is answered: the rate stays the same, so that each waits for all others"


def larger(tell: Callable[[str], None]) -> list[Curve]:
    """Median milliseconds of a request by its rows, its pixels and its steps: one client, gRPC."""
    with tempfile.TemporaryDirectory(prefix="conch-growth-") as own:
        folder = Path(own) / "models"
        publish_file(write_convolutions(Path(own) / "convolutions.onnx"), "convolutions", folder, max(ROWS))
        publish_file(write_recurrent(Path(own) / "recurrent.onnx"), "recurrent", folder)
        with (
            Server(folder, http_port=0, grpc_port=0, metrics_port=0) as server,
            connect(server.grpc, protocol="grpc") as client,
        ):

            def milliseconds(model: str, shapes: Sequence[tuple[int, ...]]) -> tuple[float, ...]:
                found = []
                for shape in shapes:
                    tell(f"{model}, {list(shape)}")
                    x = np.ones(shape, np.float32)
                    found.append(_median(lambda: client.infer(model, {"x": x})))  # noqa: B023
                return tuple(found)

            rows = milliseconds("convolutions", [(rows, 3, 32, 32) for rows in ROWS])
            pixels = milliseconds("convolutions", [(1, 3, side, side) for side in SIDES])
            steps = milliseconds("recurrent", [(1, steps, FEATURES) for steps in STEPS])
    return [
        Curve("rows", "images of 32x32 in a request, three convolutions", "ms", ROWS, rows),
        Curve("pixels", "pixels of one image, three convolutions", "ms", tuple(side**2 for side in SIDES), pixels),
        Curve("steps", "steps of one sequence, an LSTM of 64", "ms", STEPS, steps),
    ]


def clients(tell: Callable[[str], None]) -> list[Curve]:
    """p99 of a small request by the connections that ask at once, HTTP, made by wrk."""
    with tempfile.TemporaryDirectory(prefix="conch-growth-") as own:
        folder = Path(own) / "models"
        publish_file(write_dense(Path(own) / "dense.onnx"), "dense", folder)
        with Server(folder, http_port=0, grpc_port=0, metrics_port=0) as server:
            call = small_call(server.http)
            found = []
            for connections in CONNECTIONS:
                tell(f"{connections} connections")
                found.append(drive(call, connections, LOAD_SECONDS).p99_ms)
    return [Curve("clients", "connections that ask at once", "ms, p99", CONNECTIONS, tuple(found), CLOSED)]


def small_call(address: str) -> Call:
    """One row of 16 numbers, as JSON."""
    body = '{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","data":[' + ",".join(["1"] * FEATURES) + "]}]}"
    headers = {"Content-Type": "application/json"}
    return Call(f"http://{address}/v2/models/dense/infer", body.encode(), headers)


def _median(call: Callable[[], object]) -> float:
    for _ in range(3):
        call()
    times: list[float] = []
    deadline = time.perf_counter() + CALL_SECONDS
    while len(times) < 5 or time.perf_counter() < deadline:
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
