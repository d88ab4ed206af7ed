"""A process of the guard: started, watched, and started again."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from serving.errors import ServingError
from serving.server import processes
from serving.server.events import emit

START_SECONDS = 30.0
STOP_SECONDS = 3.0
REST_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Before it is started again, by how often it has ended in the last minute."""
MINUTE = 60.0
LOG_BYTES = 16 * 2**20


class Part:
    """One of them.

    Args:
        name: For messages.
        command: What to start.
        log_file: Where its output goes.
        listens: Where it listens when it is up: paths of Unix sockets, or "host:port".
    """

    def __init__(self, name: str, command: list[str], log_file: Path, listens: list[str]) -> None:
        self.name = name
        self._command, self._log_file, self._listens = command, log_file, listens
        self.process: subprocess.Popen[bytes] | None = None
        self._ends: list[float] = []
        self._start_at: float | None = None

    def start(self) -> None:
        """Start it; it ends with the thread that calls this."""
        for place in self._listens:
            if place.startswith("/"):
                Path(place).unlink(missing_ok=True)
        with self._log_file.open("ab") as output:
            self.process = processes.spawn(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment()
            )
        self._start_at = None

    def await_ready(self) -> None:
        """Return when it listens; a `ServingError` says why it does not."""
        deadline = time.monotonic() + START_SECONDS
        for place in self._listens:
            while not _answers(place):
                if self._ended() or time.monotonic() > deadline:
                    raise ServingError(
                        f"the guard's {self.name} did not start: {self._last_words()} (log: {self._log_file})"
                    )
                time.sleep(0.02)

    def look(self) -> None:
        """Tell where it has ended, once, and start it again when it has rested."""
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                try:
                    self.start()
                except OSError as error:
                    self._rest(now, f"cannot be started: {error.strerror}")
            return
        self._bound_log()
        if self._ended():
            assert self.process is not None
            processes.kill_group(self.process)  # nginx's workers, without their master
            self._rest(now, f"has ended: {self._last_words()}")

    def _rest(self, now: float, reason: str) -> None:
        self._ends = [end for end in self._ends if now - end < MINUTE] + [now]
        rest = REST_SECONDS[min(len(self._ends), len(REST_SECONDS)) - 1]
        self._start_at = now + rest
        emit(
            "guard_part_ended", f"the guard's {self.name} {reason}; it is started again", level="warning",
            part=self.name, reason=reason, wait_s=rest,
        )  # fmt: skip

    def stop(self) -> None:
        """Have it end, with whatever it has started."""
        if self.process is not None:
            processes.stop(self.process, STOP_SECONDS)

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _last_words(self) -> str:
        code = self.process.returncode if self.process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        with contextlib.suppress(OSError):
            if lines := self._log_file.read_text(errors="replace").strip().splitlines():
                return lines[-1]
        return f"exit code {code}"

    def _bound_log(self) -> None:
        """Whoever is refused must not fill the disk. The processes append, so that they go on at the new end."""
        with contextlib.suppress(OSError):
            if self._log_file.stat().st_size > LOG_BYTES:
                shutil.copyfile(self._log_file, self._log_file.with_suffix(".log.1"))
                os.truncate(self._log_file, 0)


def _environment() -> dict[str, str]:
    """With this package to be found, wherever the process was started from."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "GRPC_VERBOSITY": "NONE"}


def _answers(place: str) -> bool:
    """Whether somebody takes connections at a path, or at "host:port"."""
    with contextlib.suppress(OSError):
        if place.startswith("/"):
            with socket.socket(socket.AF_UNIX) as there:
                there.connect(place)
                return True
        host, _, port = reachable(place).rpartition(":")
        with socket.create_connection((host, int(port)), 1.0):
            return True
    return False


def reachable(place: str) -> str:
    """An address that this machine can connect to."""
    return place.replace("0.0.0.0:", "127.0.0.1:")
