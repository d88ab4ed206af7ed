"""A process that stands still is told from one that works, waits, or has not begun."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.server import heartbeat
from serving.server.heartbeat import AWAY_SECONDS, LOOK_SECONDS, STALLED_SECONDS, Heartbeats

TICKS = """
import sys, threading, time
def tick():
    while True:
        time.sleep(0.3)
threading.Thread(target=tick, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""
SILENT = "import sys; print(flush=True); sys.stdin.read()"
WORKS = TICKS.replace("sys.stdin.read()", "sum(range(10**11))")


@contextmanager
def process(code: str) -> Iterator[int]:
    """One that has begun."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as found:
        assert found.stdout is not None
        found.stdout.readline()
        try:
            yield found.pid
        finally:
            found.kill()


def stalled_after(pid: int, seconds: float) -> float | None:
    """For how long it was said to stand still, looked at as the server's watch does."""
    heartbeats, end = Heartbeats(), time.monotonic() + seconds
    while time.monotonic() < end:
        if (still := heartbeats.stalled(pid, time.monotonic())) is not None:
            return still
        time.sleep(LOOK_SECONDS)
    return None


@pytest.mark.parametrize("code", [TICKS, SILENT, WORKS], ids=["waits", "has no tick yet", "works"])
def test_one_that_runs_is_left_alone(code: str) -> None:
    with process(code) as pid:
        assert stalled_after(pid, 1.5) is None


@pytest.mark.parametrize("code", [TICKS, WORKS], ids=["waits", "works"])
def test_one_that_was_stopped_is_found_before_triton_gives_it_up(code: str) -> None:
    with process(code) as pid:
        os.kill(pid, signal.SIGSTOP)
        still = stalled_after(pid, 5)
        assert still is not None
        assert still >= STALLED_SECONDS


class Counted:
    """`/proc` of one process, as a test wants it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.threads: dict[int, int | None] = {1: 5, 2: 5}
        self.state = "R"
        patch.setattr(heartbeat, "_threads", lambda pid: dict(self.threads))
        patch.setattr(heartbeat.processes, "stat", lambda pid: [self.state])

    def looked_at(self, seconds: float, every: float = LOOK_SECONDS) -> float | None:
        heartbeats, found = Heartbeats(), None
        for step in range(round(seconds / every) + 1):
            found = found or heartbeats.stalled(7, step * every)
        return found


def test_waiting_for_a_core_counts_only_where_somebody_waits_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    assert counted.looked_at(2) is not None, "its turn does not come, and it has a request"
    counted.state = "S"
    assert counted.looked_at(2) is None, "it has nothing to do"
    counted.state = "T"
    assert counted.looked_at(2) is not None, "it is stopped: what it had to do cannot be seen"


def test_what_proves_nothing_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    assert counted.looked_at(5, every=AWAY_SECONDS + 0.1) is None, "the machine stood still, not the process"
    assert counted.looked_at(STALLED_SECONDS - LOOK_SECONDS) is None
    counted.threads = {1: 5, 2: None}
    assert counted.looked_at(2) is None, "a kernel that does not count"
    counted.threads = {}
    assert counted.looked_at(2) is None, "it has ended"


def test_a_thread_that_runs_again_begins_a_new_count(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, heartbeats = Counted(monkeypatch), Heartbeats()
    found = []
    for step in range(30):
        counted.threads = {1: 5, 2: step // 7}  # a tick in 0.7 s, as on a very busy machine
        found.append(heartbeats.stalled(7, step * LOOK_SECONDS))
    assert found == [None] * 30


def test_what_does_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [1]
    monkeypatch.setattr(heartbeat, "_runs", lambda file: runs[0])
    heartbeats = Heartbeats()
    assert [heartbeats.quiet(7, now) for now in (0.0, 1.0, 2.0)] == [0, 1, 2]
    runs[0] = 2
    assert [heartbeats.quiet(7, now) for now in (3.0, 4.0)] == [0, 1]
    heartbeats.forget(7)
    assert heartbeats.quiet(7, 9.0) == 0
