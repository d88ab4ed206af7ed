"""Compare the first request of each batch size with the steady ones, on a running server.

What is sent are zeros in the shape of the warm-up samples, one request after the other on one open connection. Whether
a request was really the first since the model was loaded is told from the server's own statistics, which count the
runs of each batch size, those of the warm-up too. Of several instances one answers it: the others' first is not seen.

Source: triton-inference-server/server docs/protocol (statistics, binary data and sequence extensions).
"""

import secrets
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import triton_to_np_dtype

from serving.errors import ServingError
from serving.kserve.endpoint import ControlClient, ModelState, Refused
from serving.repository.warm_up import batch_sizes

STEADY_REQUESTS = 20


@dataclass(frozen=True)
class FirstTouch:
    """The first request of one batch size against those after it."""

    model: str
    version: str
    batch: int
    first: float
    """Latency of the first request, seconds."""
    steady: float
    """Median latency of those after it, seconds."""
    warm_up: int
    """Runs of this batch size that the warm-up did when the model was loaded, over all instances."""
    before: int
    """Runs of this batch size since then, before the first request: above 0, it was not the first."""

    @property
    def ratio(self) -> float:
        return self.first / self.steady


def first_touches(address: str, states: list[ModelState], timeout: float = 60.0) -> Iterator[FirstTouch]:
    """Ask every ready model of the server at `address` ("host:port") once for each batch size, then some times more.

    Raises:
        ServingError: The server does not answer, or refuses a request; the message names the model and says why.
    """
    with ControlClient(address, timeout) as client:
        for served in states:
            if served.ready:
                try:
                    yield from _touch(client, served)
                except Refused as error:
                    raise ServingError(f"model {served.name!r} version {served.version}: {error}") from error


def table(touches: Iterable[FirstTouch]) -> Table:
    """A row for each model and batch size."""
    rows = Table("model", "version", "batch", "first ms", "steady ms", "ratio", "ran before")
    for column in rows.columns[2:6]:
        column.justify = "right"
    for touch in touches:
        before = [f"warm-up, {touch.warm_up} times"] if touch.warm_up else []
        before += [f"[yellow]requests, {touch.before} times: not the first[/]"] if touch.before else []
        rows.add_row(
            escape(touch.model),
            touch.version,
            str(touch.batch),
            f"{touch.first * 1e3:.2f}",
            f"{touch.steady * 1e3:.2f}",
            f"{touch.ratio:.1f}",
            "; ".join(before) or "nothing",
        )
    return rows


def _touch(client: ControlClient, served: ModelState) -> Iterator[FirstTouch]:
    model, version = served.name, served.version
    config = client.config(model, version)
    stateful = "sequence_batching" in config
    for size in [1] if stateful else batch_sizes(int(config["max_batch_size"])):
        runs = _runs(client.statistics(model, version), size)
        warm_up = _warm_up_runs(config, size)
        inputs = [_zeros(tensor, config, size) for tensor in config["input"] if not tensor.get("optional")]
        seconds = []
        sequence = secrets.randbelow(2**62) + 1 if stateful else 0
        for number in range(STEADY_REQUESTS + 1):
            body, length = InferenceServerClient.generate_request_body(
                inputs,
                sequence_id=sequence,
                sequence_start=stateful and number == 0,
                sequence_end=stateful and number == STEADY_REQUESTS,
            )
            headers = {"Inference-Header-Content-Length": str(length)} if length else {}
            began = time.perf_counter()
            client.infer(model, version, body, headers)
            seconds.append(time.perf_counter() - began)
        steady = statistics.median(seconds[1:])
        yield FirstTouch(model, version, size, seconds[0], steady, warm_up, max(0, runs - warm_up))


def _runs(counted: dict[str, Any], size: int) -> int:
    """Runs of this batch size since the model was loaded; a model without a batch axis counts as batches of 1."""
    entries = counted.get("batch_stats", [])
    return sum(int(entry["compute_infer"]["count"]) for entry in entries if int(entry["batch_size"]) == size)


def _warm_up_runs(config: dict[str, Any], size: int) -> int:
    samples = [sample for sample in config.get("model_warmup", []) if int(sample["batch_size"]) == size]
    instances = sum(int(g.get("count", 1)) * max(1, len(g.get("gpus", []))) for g in config.get("instance_group", []))
    return instances * sum(max(1, int(sample.get("count", 0))) for sample in samples)


def _zeros(tensor: dict[str, Any], config: dict[str, Any], size: int) -> InferInput:
    """Zeros for an input; axes of open length as the warm-up has them, else 1."""
    dims = [int(dim) for dim in tensor["dims"]]
    for sample in config.get("model_warmup", [])[:1]:
        if tensor["name"] in sample["inputs"]:
            dims = [int(dim) for dim in sample["inputs"][tensor["name"]]["dims"]]
    shape = [abs(dim) for dim in dims]
    if int(config["max_batch_size"]) > 0:
        shape = [size, *shape]
    kind = tensor["data_type"].removeprefix("TYPE_").replace("STRING", "BYTES")
    dtype = np.dtype(triton_to_np_dtype(kind))
    zeros = np.full(shape, b"", dtype) if dtype.hasobject else np.zeros(shape, dtype)
    given = InferInput(tensor["name"], shape, kind)
    given.set_data_from_numpy(zeros)
    return given
