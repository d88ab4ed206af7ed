"""Which of several servers gets a request: each in turn, and one that does not answer is left alone for a while.

gRPC's own `round_robin` is not used for this. Its list of servers holds no names, its health checking asks
grpc.health.v1's Watch, which Triton answers with UNIMPLEMENTED (2.51), and HTTP would need the same once more.
"""

import itertools
import time

from clients.address import Address

FIRST_REST_S, LONGEST_REST_S = 1.0, 30.0
PROBE_S = 1.0
"""A server that comes back from its rest has so long to say that it is ready."""


class Endpoint:
    """One server, and what is known of its health."""

    def __init__(self, number: int, address: Address) -> None:
        self.number = number
        self.address = address
        self._failures = 0
        self._rests_until = 0.0

    @property
    def resting(self) -> float:
        """Seconds for which it is to be left alone."""
        return max(0.0, self._rests_until - time.monotonic())

    @property
    def doubtful(self) -> bool:
        """Whether it failed last, and has rested since."""
        return self._failures > 0 and not self.resting

    def failed(self) -> None:
        """It gave no answer."""
        self._rests_until = time.monotonic() + min(FIRST_REST_S * 2**self._failures, LONGEST_REST_S)
        self._failures = min(self._failures + 1, 10)

    def answered(self) -> None:
        """It is there."""
        self._failures, self._rests_until = 0, 0.0

    def claim(self) -> None:
        """It is being asked whether it is back; others leave it alone meanwhile."""
        self._rests_until = time.monotonic() + PROBE_S


class Endpoints:
    """The servers of one client. Threads may share it: what they overwrite of each other is at worst a turn."""

    def __init__(self, addresses: list[Address]) -> None:
        self.all = [Endpoint(number, address) for number, address in enumerate(addresses)]
        self._turns = itertools.count()

    def __len__(self) -> int:
        return len(self.all)

    def choose(self, tried: set[int]) -> Endpoint:
        """The next one that is well, and not `tried`; for want of those one that was, or whose rest ends first."""
        if len(self.all) == 1:
            return self.all[0]
        turn = next(self._turns) % len(self.all)
        in_turn = [*self.all[turn:], *self.all[:turn]]
        return min(in_turn, key=lambda endpoint: (endpoint.resting > 0, endpoint.number in tried, endpoint.resting))

    def untried(self, tried: set[int]) -> bool:
        """Whether there is one that is well and was not tried."""
        return any(not endpoint.resting and endpoint.number not in tried for endpoint in self.all)
