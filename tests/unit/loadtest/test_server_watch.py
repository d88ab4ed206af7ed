import socket
from typing import Any

import pytest

from clients.access import Access
from loadtest.server_probe import Probe, metric_values, server_process
from loadtest.server_watch import PARTS, ServerWatch

# The format of docs/user_guide/metrics.md (triton-inference-server/server); no GPU was there to record it from.
TWO_GPUS = """\
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="cnn",version="1"} 3
nv_inference_pending_request_count{model="cnn_int8",version="1"} 40
nv_inference_pending_request_count{model="lstm",version="2"} 5
# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-00000000-0000-0000-0000-000000000001"} 0.75
nv_gpu_utilization{gpu_uuid="GPU-00000000-0000-0000-0000-000000000002"} 0.5
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-00000000-0000-0000-0000-000000000001"} 974913536.000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-00000000-0000-0000-0000-000000000002"} 1000000000.000000
# HELP nv_energy_consumption GPU energy consumption in joules since the Triton Server started
# TYPE nv_energy_consumption counter
nv_energy_consumption{gpu_uuid="GPU-00000000-0000-0000-0000-000000000001"} 9380.053000
# HELP nv_cpu_utilization CPU utilization rate [0.0 - 1.0]
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.25
# HELP nv_cpu_memory_used_bytes CPU used memory (RAM), in bytes
# TYPE nv_cpu_memory_used_bytes gauge
nv_cpu_memory_used_bytes 7058243584
"""


def test_gpus_and_machine_are_read_from_a_text_in_the_documented_format() -> None:
    values = metric_values(TWO_GPUS, {"cnn", "lstm"})
    expected = {"gpu": 1.25, "gpu_bytes": 1974913536, "machine_cpu": 0.25, "machine_bytes": 7058243584, "pending": 8}
    assert values == pytest.approx(expected)


def test_what_is_not_told_is_left_out() -> None:
    assert metric_values("", {"cnn"}) == {}
    assert metric_values("nv_cpu_utilization 0.5\nnonsense{ 3\n", {"cnn"}) == {"machine_cpu": 0.5}


def test_only_a_tritonserver_of_this_machine_is_watched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert server_process("127.0.0.1", own.getsockname()[1]) is None  # this test, as a proxy would be
    assert server_process("192.0.2.1", 8000) is None  # of nobody (RFC 5737)
    assert server_process("no.such.host.invalid", 8000) is None


def test_of_a_remote_server_the_memory_of_its_machine_is_taken() -> None:
    watch = ServerWatch("http://192.0.2.1:8000", "", {"cnn": "1"}, Access())
    assert not Probe("http://192.0.2.1:8000", "", {"cnn": "1"}, Access()).sees_memory()
    assert watch.memory() == ("nothing", [])
    watch.samples = [{"t": 0.0, "machine_bytes": 5.0}, {"t": 1.0}, {"t": 2.0, "machine_bytes": 7.0}]
    assert watch.memory() == ("the server's whole machine", [(0.0, 5.0), (2.0, 7.0)])
    watch.samples = [{"t": 0.0, "machine_bytes": 5.0, "rss_bytes": 1.0}]
    assert watch.memory() == ("the server's processes", [(0.0, 1.0)])


def test_a_server_that_was_started_again_and_a_probe_that_was_killed_end_no_run() -> None:
    watch = ServerWatch("http://192.0.2.1:8000", "", {"cnn": "1"}, Access())
    watch.start()
    assert watch._probe is not None
    watch._probe.kill()
    watch._probe.wait()
    watch.watch(0.0, 1.0)
    watch._seen.write('{"sample": {"t": 1.0}}\n{"sample": {"t"')
    watch.finish()
    watch.stop()
    assert watch.samples == [{"t": 1.0}]
    success = {"success": {"count": 5, "ns": 5}}
    counts = {"inference_stats": success, "execution_count": 9, "inference_count": 9}
    watch._before = {"cnn": counts | {"batch_stats": [{"batch_size": 4, "compute_infer": {"count": 2}}]}}
    more = {"inference_stats": {"success": {"count": 8, "ns": 9}}, "batch_stats": []}
    watch._after = {"cnn": counts | more}
    split = watch.split("cnn", None)
    assert split is not None
    assert (split["requests"], split["batches"]) == (3, {})


def test_what_a_batch_took_is_of_this_load_alone() -> None:
    def statistics(entries: dict[int, tuple[int, int]]) -> dict[str, Any]:
        batches = [
            {"batch_size": size, **{part: {"count": count, "ns": ns} for part in PARTS[1:]}}
            for size, (count, ns) in entries.items()
        ]
        total = sum(count for count, _ in entries.values())
        success = {"success": {"count": total, "ns": 1}}
        return {"inference_stats": success, "execution_count": total, "inference_count": total, "batch_stats": batches}

    watch = ServerWatch("http://192.0.2.1:8000", "", {"cnn": "1"}, Access())
    watch._before = {"cnn": statistics({1: (10, 10_000_000), 4: (5, 1)})}
    watch._after = {"cnn": statistics({1: (20, 30_000_000), 2: (2, 8_000_000), 4: (5, 1), 16: (1, 9_000_000)})}
    split = watch.split("cnn", None)
    assert split is not None
    assert split["batch_ms"] == {"1": 6.0, "2": 12.0, "16": 27.0}
