"""The dead are told, what stands still is killed, and what is replaced goes quietly."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.server import stub_watch
from serving.server.stub_watch import StubWatch
from serving.server.stubs import STUB, Stubs
from tests.unit.serving.test_stubs import stub

TICKS = """
import threading, time
threading.Thread(target=lambda: [time.sleep(0.3) for _ in range(99)], daemon=True).start()
input()
"""


def wait_until(told: Callable[[], object], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if told():
            return True
        time.sleep(0.02)
    return False


def test_one_that_is_stopped_is_killed_and_told_once(tmp_path: Path) -> None:
    with stub(tmp_path, TICKS, "bad_0_0") as process:
        watch = StubWatch(Stubs(process.pid, tmp_path / "models"))
        watch.start()
        assert wait_until(watch.living)
        assert list(watch.living().values()) == [("bad", "bad_0_0")]
        time.sleep(1.2)
        assert watch.deaths() == []
        began = time.monotonic()
        process.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: not watch.living())
        assert time.monotonic() - began < 1.5, "on a busy machine; within a second on another"
        watch.stop()
        (death,) = watch.deaths()
        assert str(death).startswith("the process of bad_0_0 stood still for 0.")
        assert watch.deaths() == []
        assert watch.stubs.deaths == {"bad_0_0": death}
        assert watch.stubs.regions == {Path("/dev/shm/2")}


def test_what_is_replaced_ends_untold_when_it_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub_watch, "RETIRED_SECONDS", 0.5)
    with stub(tmp_path, TICKS, "bad_0_0") as process:
        watch = StubWatch(Stubs(process.pid, tmp_path / "models"))
        watch.start()
        assert wait_until(watch.living)
        assert not watch.quiet(0.2), "looked at for the first time"
        assert wait_until(lambda: watch.quiet(0.2))
        watch.retire([process.pid])
        assert watch.living() == {}
        assert wait_until(lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        time.sleep(0.3)
        watch.stop()
        assert watch.deaths() == []


@pytest.mark.parametrize(
    ("ended", "name"), [("os.kill(os.getpid(), 9)", STUB[:15]), ("os._exit(3)", STUB[:15]), ("os._exit(3)", "sh")]
)
def test_one_that_ended_between_two_looks_is_told_by_the_model_that_waits_for_it(
    ended: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub_watch, "LATE_SECONDS", 0.3)
    server = f"import os\nif os.fork() == 0:\n    open('/proc/self/comm', 'w').write('{name}')\n    {ended}\ninput()"
    with stub(tmp_path, server, "no instance") as process:
        watch = StubWatch(Stubs(process.pid, tmp_path / "models"))
        watch.stubs._others.add(process.pid)  # it stands for the server
        watch.start()
        time.sleep(0.5)
        assert bool(watch.stubs.unseen) is (name == STUB[:15])
        watch.stubs.living[process.pid] = ("slow", "slow_0_0")
        assert watch.unseen(["slow", "waiting"]) is None
        time.sleep(0.4)
        assert watch.unseen(["slow", "waiting"]) is None, "it does something"
        del watch.stubs.living[process.pid]
        assert watch.unseen(["slow"]) is None, "its process may begin in a moment"
        time.sleep(0.4)
        assert watch.unseen([]) is None
        assert watch.unseen(["slow"]) is None, "it is asked about anew"
        time.sleep(0.4)
        death = watch.unseen(["slow"])
        assert watch.deaths() == []
        watch.stop()
    if name != STUB[:15]:
        assert death is None, "the server runs other programs, too"
        return
    assert death is not None
    assert death.completing
    words = {"os._exit(3)": "ended with exit code 3"}.get(ended, "was killed by SIGKILL")
    assert str(death) == f"the process of slow {words}"
