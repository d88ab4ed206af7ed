"""How a process of Triton's Python backend ended is read from what is left of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.server import stubs
from serving.server.stubs import Death, Stubs


@contextmanager
def stub(folder: Path, code: str, instance: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks as a stub does, in a process group of its own; nobody asks how it ends."""
    script = folder / "models" / "bad" / "1" / "model.py"
    script.parent.mkdir(parents=True)
    script.write_text(code)
    words = ["/backends/python/triton_python_backend_stub", str(script), *"234567", instance, "DEFAULT"]
    process = subprocess.Popen(words, executable=sys.executable, start_new_session=True, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def deaths(watched: Stubs, seconds: float = 10.0) -> list[Death]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := watched.look():
            return found
        time.sleep(0.02)
    return []


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import os; os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("import sys; sys.exit(3)", "ended with exit code 3"),
        ("", "ended with exit code 0"),  # after a while: a stub that has done its work is collected
    ],
)
def test_a_death_is_seen_with_its_end(code: str, end: str, tmp_path: Path) -> None:
    with stub(tmp_path, f"input(); {code}", "bad_0_0") as process:
        watched = Stubs(process.pid, tmp_path / "models")
        assert watched.look() == []
        time.sleep(0.2)  # until it is what it says it is
        assert watched.look() == []
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        (death,) = deaths(watched)
        assert str(death) == f"the process of bad_0_0 {end}"
        assert watched.deaths == {"bad_0_0": death}
        assert watched.look() == [], "it is told once"
        assert (death.model, death.completing) == ("bad", False)


def test_the_one_that_completes_a_configuration_is_told_apart(tmp_path: Path) -> None:
    with stub(tmp_path, "input()", "bad") as process:
        watched = Stubs(process.pid, tmp_path / "models")
        time.sleep(0.2)
        watched.look()
        process.send_signal(signal.SIGKILL)
        (death,) = deaths(watched)
    assert death.completing
    assert str(death) == "the process of bad was killed by SIGKILL"


def test_processes_of_others_are_none(tmp_path: Path) -> None:
    with stub(tmp_path, "input()", "other_0_0") as process:
        watched = Stubs(os.getpid(), tmp_path / "models")
        process.send_signal(signal.SIGKILL)
        assert deaths(watched, 0.3) == []


def test_want_of_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = [0]
    monkeypatch.setattr(stubs, "_killed_for_memory", lambda: killed[0])
    with stub(tmp_path, "input()", "large_0_0") as process:
        watched = Stubs(process.pid, tmp_path / "models")
        time.sleep(0.2)
        watched.look()
        killed[0] = 1
        process.send_signal(signal.SIGKILL)
        (death,) = deaths(watched)
    assert "was killed by SIGKILL, as the kernel kills for want of memory" in str(death)


def test_one_that_is_collected_is_none_that_triton_waits_for(tmp_path: Path) -> None:
    """Triton kills the process of a model that it refuses, and collects it a moment later."""
    with stub(tmp_path, "input()", "bad") as process:
        watched = Stubs(process.pid, tmp_path / "models")
        time.sleep(0.2)
        watched.look()
        process.send_signal(signal.SIGKILL)
        assert deaths(watched, 0.3) == []
        process.wait()
        assert deaths(watched, stubs.LATE_SECONDS + 0.5) == []
