"""Drive one address with wrk: one thread, a fixed request, as many connections as told, closed loop.

Source: https://github.com/wg/wrk, SCRIPTING. wrk counts a status above 399 as an error.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from conch.contracts.errors import ConchError
from serving.server import processes

SCRIPT = Path(__file__).with_name("request.lua")
ERRORS = ("connect", "read", "write", "timeout", "status")


class BenchError(ConchError):
    """Nothing can be measured; the message is one line that says why."""


class InvalidRound(Exception):
    """What was just measured says nothing about the server; the message says why."""


@dataclass(frozen=True)
class Sample:
    """What one run of wrk saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Call:
    """One request, to be sent over and over."""

    url: str
    body: bytes
    headers: Mapping[str, str]


def find_wrk() -> str:
    """The program; BenchError with the line that installs it."""
    program = shutil.which("wrk")
    if program is None:
        raise BenchError("there is no wrk, which makes the load: apt-get install wrk (Debian, Ubuntu)")
    return program


def drive(call: Call, connections: int, seconds: int) -> Sample:
    """Send `call` on so many connections for so long (whole seconds: wrk takes no parts).

    Raises InvalidRound for an answer that is none, or wrk that ends badly or not at all.
    """
    with NamedTemporaryFile() as body:
        body.write(call.body)
        body.flush()
        headers = [f"{name}={value}" for name, value in call.headers.items()]
        command = [
            find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT), call.url,
            "--", body.name, *headers,
        ]  # fmt: skip
        process = processes.spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=seconds + 30)
        except subprocess.TimeoutExpired:
            raise InvalidRound(f"wrk did not end {seconds + 30} s after its start") from None
        finally:
            processes.stop(process, grace=2.0)
    return parse(output.decode(errors="replace"), process.returncode)


def parse(output: str, code: int = 0) -> Sample:
    """The sample in what wrk printed with our script, whose line of JSON is its last.

    Raises InvalidRound where there is none, no request was answered, or any had an error.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if code or not lines:
        raise InvalidRound(f"wrk ended with {code}: {' '.join(output.split())[-200:]}")
    found = json.loads(lines[-1])
    if failed := {name: found[name] for name in ERRORS if found[name]}:
        raise InvalidRound("wrk saw errors: " + ", ".join(f"{name} {count}" for name, count in failed.items()))
    if found["requests"] == 0 or found["microseconds"] == 0:
        raise InvalidRound("no request was answered")
    return Sample(found["requests"] / found["microseconds"] * 1e6, found["p50"] / 1000, found["p99"] / 1000)
