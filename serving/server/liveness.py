"""Whether a server answers at all: one that hangs, or was stopped, has not ended and serves nobody."""

import threading
import time

from serving.errors import ServingError
from serving.kserve.endpoint import ControlClient

EVERY_SECONDS = 2.0
ANSWER_SECONDS = 5.0
FAILURES = 3
SILENT_SECONDS = 20.0
"""Longer than any load keeps a connection waiting that it shares no thread with; all FAILURES come within."""


class Liveness:
    """Asks the server at `address` what it is, on a new connection each time, until `close`; in a thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._failures, self._answered = 0, time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="liveness", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise a `ServingError` where the server has been silent for too long."""
        silent = time.monotonic() - self._answered
        if self._failures >= FAILURES and silent > SILENT_SECONDS:
            raise ServingError(f"tritonserver runs, but has not answered for {silent:.0f} s")

    def answered(self) -> None:
        """It has, as whoever started it knows."""
        self._failures, self._answered = 0, time.monotonic()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _ask(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            try:
                with ControlClient(self._address, ANSWER_SECONDS) as client:
                    client.about()
            except ServingError:
                self._failures += 1
            else:
                self.answered()
