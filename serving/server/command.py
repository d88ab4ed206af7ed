"""Run a command while a server is up, and end with its exit code."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from serving.errors import ServingError
from serving.server import processes
from serving.server.interruption import Interrupted
from serving.server.server import Server

# What a command gets to end after a signal, before it is killed.
GRACE_SECONDS = 10.0


def run_command(command: list[str], server: Server, environment: Mapping[str, str] | None = None) -> int:
    """Run `command` with the server's addresses in its environment; return its exit code (128 + n for a signal n).

    Loopback is added to `no_proxy`: gRPC and most HTTP libraries would ask a proxy for it.
    The addresses are CONCH_HTTP, CONCH_GRPC and CONCH_METRICS, each "host:port"; `environment` is added. The command
    runs in a session of its own, without the terminal's input; SIGINT and SIGTERM are handed on to all of its
    processes, and what it leaves running in the background ends with it.

    Raises:
        ServingError: The command cannot be started, or the server ends while it runs.
    """
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    # A process outside the terminal's foreground group would be halted by reading from it.
    stdin = subprocess.DEVNULL if sys.stdin is None or sys.stdin.isatty() else None
    try:
        process = processes.spawn(
            command, env={**os.environ, **_unproxied(), **addresses, **(environment or {})}, stdin=stdin
        )
    except OSError as error:
        raise ServingError(f"cannot run {command[0]!r}: {error.strerror}") from error
    try:
        code = _wait(process, server)
    finally:
        processes.stop(process, GRACE_SECONDS)
    return 128 - code if code < 0 else code


def _unproxied() -> dict[str, str]:
    """`no_proxy` as it is, and loopback; both spellings, for some read the one and some the other."""
    return {
        name: ",".join(filter(None, (os.environ.get(name, ""), "localhost,127.0.0.1,::1")))
        for name in ("no_proxy", "NO_PROXY")
    }


def _wait(process: subprocess.Popen[bytes], server: Server) -> int:
    kill_at = float("inf")
    while True:
        try:
            server.check_alive()
            if time.monotonic() > kill_at:
                processes.signal_group(process.pid, signal.SIGKILL)
            return process.wait(0.25)
        except subprocess.TimeoutExpired:
            continue
        except Interrupted as interruption:
            processes.signal_group(process.pid, interruption.number)
            kill_at = time.monotonic() + GRACE_SECONDS
