"""The wall clock is set while a server runs: nobody notices.

Server and models are shown another time by libfaketime (Debian: faketime), the machine's own clock is left alone. What
it cannot do is to end a wait that has begun, as the kernel does when the clock is set past its end. `conch serve` runs
without it, for it has `time.sleep` fail; of that clock it asks nothing but the time of events.
"""

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from serving.server.tritonserver import find_program
from tests.live.test_faults import RIGHT, Callers, put, served

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
JUMPS = ("+3600", "+0", "-3600", "+0", "-3600", "+3600")
"""Seconds from the machine's own clock."""


def shown_another_time(folder: Path) -> Path:
    """A tritonserver whose clock is what the variables of libfaketime say, with what belongs to the real one."""
    real = find_program()
    root = folder / "pytriton" / "tritonserver"
    (root / "bin").mkdir(parents=True)
    for entry in real.parent.parent.iterdir():
        if entry.name != "bin":
            (root / entry.name).symlink_to(entry)
    libraries = "nvidia_pytriton.libs"
    (folder / libraries).symlink_to(real.parents[3] / libraries)
    program = root / "bin" / real.name
    program.write_text(f'#!/bin/sh\nLD_PRELOAD={LIBRARY} exec {real} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.long
@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is missing: apt-get install faketime")
def test_the_clock_is_set_an_hour_forward_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts, offset = tmp_path / "artifacts", tmp_path / "offset"
    (artifacts / "models").mkdir(parents=True)
    put(artifacts / "models")
    offset.write_text("+0\n")
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with served(artifacts, "--probe", "1s", "--server", str(shown_another_time(tmp_path / "triton"))) as server:
        with Callers(server.running, threads=3, rate=60.0) as callers:
            lines = len(server.said.read_text().splitlines())
            for jump in JUMPS:
                (tmp_path / "next").write_text(f"{jump}\n")
                (tmp_path / "next").replace(offset)
                time.sleep(2.5)  # more than the second after which Triton gives a request up
        assert [*Counter(answer.what for answer in callers.answers)] == [RIGHT]
        assert len(callers.answers) > 100 * len(JUMPS)
        assert max(answer.took for answer in callers.answers) < 2
        assert server.running.restarts == []
        assert server.said.read_text().splitlines()[lines:] == [], "probes were answered in time, too"
    log = (artifacts / "server" / "triton.log").read_text()
    times = re.findall(r"^[A-Z]\d{4} (\d\d):(\d\d):", log, re.MULTILINE)
    first, *_, last = (60 * int(hour) + int(minute) for hour, minute in times)
    assert 55 < (last - first) % (24 * 60) < 75, "the last words of a server whose clock is an hour ahead"
