"""What happened between two readings of a server's counters, over HTTP from a server of the test's own."""

import json
from contextlib import nullcontext

import pytest

from clients import connect
from clients.access import Door
from clients.address import Address
from clients.errors import Refused, Unreachable
from clients.server_statistics import Counters, read_pending, read_providers
from tests.support.http_servers import Answering, answering

STATS = {
    "name": "cnn",
    "version": "2",
    "inference_stats": {
        "success": {"count": 10, "ns": 20_000_000},
        "fail": {"count": 3, "ns": 5},
        "queue": {"count": 10, "ns": 5_000_000},
    },
    "batch_stats": [
        {"batch_size": 8, "compute_infer": {"count": 1, "ns": 1}},
        {"batch_size": 2, "compute_infer": {"count": 1, "ns": 1}},
    ],
}
METRICS = """
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="cnn",version="2"} 7
nv_inference_request_success{model="cnn",version="2"} 10
conch_execution_provider{model="cnn",version="2",provider="CUDAExecutionProvider",asked="CUDAExecutionProvider"} 1
conch_execution_provider{model="cnn",version="2",provider="CPUExecutionProvider",asked="CUDAExecutionProvider"} 1
"""


class Statistics(Answering):
    """A server with the statistics and metrics above, and others at paths of their own."""

    def do_GET(self) -> None:
        bodies = {
            "/v2/models/stats": json.dumps({"model_stats": [STATS]}),
            "/base/v2/models/stats": json.dumps({"model_stats": []}),
            "/metrics": METRICS,
            "/odd/v2/models/stats": "[1, 2",
            "/other/v2/models/stats": '{"model_stats": [{"version": "1"}]}',
        }
        found = bodies.get(self.path)
        self.answer((found or '{"error": "not found"}').encode(), 200 if found else 404)


def test_counters_of_a_server_over_http() -> None:
    with answering(Statistics) as port:
        at = f"127.0.0.1:{port}"
        with connect(at) as client:
            (counters,) = client.counters().values()
        assert (counters.requests, counters.failures, counters.runs) == (10, 3, {8: 1, 2: 1})
        assert (counters.latency_ms, counters.queue_ms) == (2.0, 0.5)
        assert read_pending(Door(Address("http", at)), 5) == {("cnn", "2"): 7}
        assert read_providers(Door(Address("http", at)), 5) == {("cnn", "2"): "CPU, CUDA"}
        for path, error, says in (
            ("base", None, ""),
            ("odd", Unreachable, "does not speak KServe v2"),
            ("other", Unreachable, "has no statistics as Triton's"),
            ("none", Refused, "not found"),
        ):
            with connect(f"{at}/{path}") as client, pytest.raises(error, match=says) if error else nullcontext():
                assert client.counters() == {}
        with pytest.raises(Refused, match="answers 404"):
            read_pending(Door(Address("http", f"{at}/none")), 5)
    with pytest.raises(Unreachable, match="no server at"):
        read_pending(Door(Address("http", at)), 5)


def test_what_was_counted_in_between_and_after_a_new_load() -> None:
    before = Counters(10, 1, 1_000_000, 10, 0, {1: 4, 4: 2})
    after = Counters(30, 1, 41_000_000, 30, 10_000_000, {1: 4, 4: 7, 8: 1})
    between = after.since(before)
    assert between == Counters(20, 0, 40_000_000, 20, 10_000_000, {4: 5, 8: 1})
    assert (between.latency_ms, between.queue_ms) == (2.0, 0.5)
    loaded_anew = Counters(3, 0, 3_000_000, 3, 0, {1: 3})
    assert loaded_anew.since(before) == loaded_anew
    nothing = after.since(after)
    assert (nothing.requests, nothing.latency_ms, nothing.queue_ms, nothing.runs) == (0, None, None, {})
