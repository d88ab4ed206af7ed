"""Whether a server is to get requests, for what starts and stops servers by itself: a kubelet, systemd, a balancer.

A process that listens is not enough, nor a model that Triton calls ready: what counts is how the last golden request of
each model was answered. One that was refused because the queue is full says nothing against the answers. To take a
server away for that would send its share to the others, which have no room either; so it is excused, for a while.
"""

import threading
import time
from collections.abc import Mapping

REFUSED_SECONDS = 300.0
"""So long a model may refuse every golden request before that counts against it: a queue that never empties hangs."""
MISSED_ROUNDS = 3
"""After so many without a look, nothing is known any more."""


class Health:
    """What is wrong with each model, as it was last seen; set by one thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, str] = {}
        self._models = 0
        self._until = 0.0

    def seen(self, models: int, faults: Mapping[str, str], next_look_s: float) -> None:
        """All models have been looked at.

        Args:
            models: How many there are.
            faults: Model -> what is wrong with it, of those with which something is.
            next_look_s: Within how many seconds the next look is meant to end.
        """
        with self._lock:
            self._models, self._faults = models, dict(faults)
            self._until = time.monotonic() + MISSED_ROUNDS * next_look_s

    @property
    def faults(self) -> dict[str, str]:
        """What speaks against sending requests here, by model; by "guard" or "server" where it is none of a model."""
        with self._lock:
            if time.monotonic() > self._until:
                return {"server": "its models have not been looked at lately" if self._until else "not looked at yet"}
            if not self._models:
                return {"server": "it has no models"}
            return dict(self._faults)
