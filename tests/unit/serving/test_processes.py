"""Processes end with everything they started, and are told apart from others of the same number."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from serving.server import processes

SLEEPERS = "trap '' TERM; sleep 60 & sleep 60 & wait"


def test_stop_ends_the_whole_group_although_it_ignores_sigterm() -> None:
    process = processes.spawn(["sh", "-c", SLEEPERS])
    while len(processes.members(process.pid)) < 3:
        time.sleep(0.01)
    processes.stop(process, grace=0.1)
    assert processes.members(process.pid) == []
    assert process.returncode == -signal.SIGKILL


def test_a_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    spawn = "print(processes.spawn(['sleep', '60']).pid, flush=True)"
    script = f"from serving.server import processes; {spawn}; input()"
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    started = processes.start_time(child)
    assert started is not None
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 5
    while processes.start_time(child) == started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.start_time(child) != started


def test_start_time_tells_processes_apart() -> None:
    mine = processes.start_time(os.getpid())
    assert mine == processes.start_time(os.getpid())
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.start_time(child.pid) is None
