"""How many requests a second a model answers on this machine: what the length of a queue is measured by."""

import math
import time
from collections.abc import Mapping

import numpy as np
import onnxruntime

from serving.repository.warm_up import batch_sizes

REQUEST_S = 100e-6
"""What a request costs the server besides the graph: a backend that computes nothing answers some 10,000 a second."""
LONGEST_S = 1.0
"""After which no larger batch is tried."""
RUNS = 3
"""Of each batch; the fastest counts, for a machine that others use as well only ever makes one slower."""


def requests_per_s(
    session: onnxruntime.InferenceSession, golden: Mapping[str, np.ndarray], max_batch_size: int
) -> float | None:
    """Requests of one item that are answered a second when many wait; None where the graph does not run the golden
    item.

    Args:
        session: Of the model, with all cores, which its instances share between them.
        golden: `inputs/<tensor>` -> array whose first axis counts items.
        max_batch_size: The most items of a run; 0 without a batch axis.
    """
    best, began = math.inf, time.perf_counter()
    for rows in batch_sizes(max_batch_size):
        try:
            best = min(best, _run_s(session, _feed(session, golden, rows if max_batch_size else 0)) / rows)
        except Exception:  # its exceptions share no base class; what it says is said where it is served
            break
        if time.perf_counter() - began > LONGEST_S:
            break
    return 1 / (best + REQUEST_S) if best < math.inf else None


def _run_s(session: onnxruntime.InferenceSession, feed: Mapping[str, np.ndarray]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - began)
        if times[0] > LONGEST_S / RUNS:
            break
    return min(times)


def _feed(
    session: onnxruntime.InferenceSession, golden: Mapping[str, np.ndarray], rows: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """The first item, `rows` times; alone and without an axis of items for 0."""
    feed = {}
    for tensor in session.get_inputs():
        array = np.repeat(golden[f"inputs/{tensor.name}"][:1], max(rows, 1), axis=0)
        array = array if rows else array[0]
        if array.ndim == len(tensor.shape) + 1 and array.shape[-1] == 1:  # a number has an axis of its own there
            array = array.reshape(array.shape[:-1])
        feed[tensor.name] = array.astype(object) if array.dtype.kind == "U" else array
    return feed
