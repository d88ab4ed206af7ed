"""What an open loop sees and a closed one does not."""

import os
import signal
import time
from pathlib import Path

import pytest

from serving.server.server import Server
from tests.support.loads import golden_of, result, start

STOPPED_S = 2.0


@pytest.mark.timing
def test_a_stopped_server_is_seen_from_the_intended_time_and_not_by_a_closed_loop(
    triton: Server, artifacts: Path, tmp_path: Path
) -> None:
    own = {name: golden_of(artifacts, tmp_path / name, "cnn") for name in ("open", "closed")}
    common = ("run", "cnn", "--rate", "60", "--duration", "10s")
    runs = {
        "open": start(triton, own["open"], *common),
        "closed": start(triton, own["closed"], *common, "--arrivals", "closed", "--users", "1"),
    }
    time.sleep(6.0)  # both start in a few seconds
    os.kill(triton.pid, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_S)
    finally:
        os.kill(triton.pid, signal.SIGCONT)
    found = {name: result(run, own[name] / "report" / "load" / "cnn") for name, run in runs.items()}
    opened, closed = found["open"][2], found["closed"][2]
    assert opened["generator"]["exhausted"] == 0, found["open"][1]
    assert opened["latency_ms"]["p99"] > STOPPED_S * 1000 * 0.8
    assert closed["latency_ms"]["p99"] < STOPPED_S * 1000 * 0.5
    # It was there in both: one request of the closed loop waited the whole time.
    assert closed["latency_ms"]["max"] > STOPPED_S * 1000 * 0.8
    assert opened["failures"] == closed["failures"] == 0
