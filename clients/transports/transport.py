"""What a protocol must be able to do for a client, blocking or with asyncio; and what either says of trouble."""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import replace

from clients.calls import Outcome, Sending
from clients.errors import DeadlineExceeded, Refused, Unreachable

WINDOW = 8
"""So many requests of one call are under way at once; the others wait for the first of them."""

RESTRICTED = "is restricted, expecting header"
"""Triton's words for an API that it was told to restrict."""
NOT_READY = "is not at ready state"
"""Triton's words for a version that it has had, or is about to have."""


class UnderWay(ABC):
    """A request that was sent, or failed to be."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether `finish` would not wait for the server to begin its answer."""

    @abstractmethod
    def finish(self) -> Outcome:
        """Wait for the answer until the deadline."""

    @abstractmethod
    def drop(self) -> None:
        """Break it off, if it is not finished."""


class Transport(ABC):
    """The connections of one client; threads and greenlets may share it, and a forked child connects anew."""

    @abstractmethod
    def begin(self, sending: Sending) -> UnderWay:
        """Send, and wait for no answer; a fork waits or does no harm meanwhile."""

    def send(self, sendings: list[Sending]) -> list[Outcome]:
        """Send all, at most `WINDOW` at once, and give an answer or a ClientError for each, in order.

        No connection of a request that was broken off, by Ctrl-C or whatever else is raised here, is used again.
        """
        outcomes: list[Outcome] = []
        under_way: deque[UnderWay] = deque()
        try:
            for sending in sendings:
                if len(under_way) == WINDOW:
                    outcomes.append(under_way.popleft().finish())
                under_way.append(self.begin(sending))
            while under_way:
                outcomes.append(under_way.popleft().finish())
        finally:
            for left in under_way:
                left.drop()
        return outcomes

    @abstractmethod
    def close(self) -> None:
        """Give the connections back."""


class AsyncTransport(ABC):
    """The same on an asyncio event loop, to which it belongs."""

    @abstractmethod
    async def send(self, sendings: list[Sending]) -> list[Outcome]:
        """As `Transport.send`; a cancelled task's requests are broken off."""

    @abstractmethod
    async def close(self) -> None:
        """Give the connections back."""


def late(sending: Sending, not_run: bool = False) -> DeadlineExceeded:
    """The deadline is over."""
    return DeadlineExceeded(
        f"no answer from {sending.address} within {sending.deadline.seconds:g} s; "
        "give it more time (timeout), or see what keeps the server busy",
        not_run,
    )


def nobody(sending: Sending, reason: object) -> Unreachable:
    """There is no connection to the server."""
    return Unreachable(f"no server at {sending.address} ({reason})", not_run=True)


def broken(sending: Sending, reason: object, not_run: bool = False) -> Unreachable:
    """There was a connection, and it broke."""
    advice = "" if not_run else "; the server may have run the request: with repeatable=True it is sent again"
    return Unreachable(f"the connection to {sending.address} broke ({reason}){advice}", not_run)


def foreign(sending: Sending) -> Unreachable:
    """Something answers, but not as a server of models does."""
    protocol = "HTTP" if sending.address.protocol == "http" else "gRPC"
    advice = "" if sending.address.tls else f"; if it speaks TLS, call {with_tls(sending)}"
    return Unreachable(f"what answers at {sending.address} does not speak KServe v2 over {protocol}{advice}")


def not_ready(said: str, status: str) -> Refused:
    """The version that was asked for is not served now; others of the model may be. The status is that of no room."""
    refused = Refused(said, status)
    refused.missing = refused.not_run = True
    return refused


def with_tls(sending: Sending) -> str:
    """The address that would be called over TLS."""
    return str(replace(sending.address, tls=True))


def unauthorized(sending: Sending, said: str, status: str) -> Refused:
    """The server, or a proxy before it, does not let this client in."""
    give = "its key (api_keys, CONCH_API_KEYS)" if RESTRICTED in said else "a token (token, --token-file, CONCH_TOKEN)"
    return Refused(f"{sending.address} does not let this client in: {said}; give {give} that it takes", status)
