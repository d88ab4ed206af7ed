"""gRPC on grpcio's blocking channel."""

import os
import sys
import threading
from collections import deque
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from clients.address import Address
from clients.calls import Outcome, Sending
from clients.certificates import Certificates
from clients.forking import Calls
from clients.transports import grpc_message, trust
from clients.transports.transport import WINDOW, Transport, late

SURELY_TAKEN = 1 << 14
"""Bytes that a socket takes although its peer reads none. While more than it takes is being written, gRPC ends a call
only when that is done, or the connection is dropped, deadline or not (grpc/grpc issue 15889). Calls of more are made as
futures, which cost a tenth more of a small call's time, and are waited for no longer than the deadline."""

_CALLS = Calls()


class GrpcTransport(Transport):
    """A channel for each server; a fork waits for the calls under way, and the child makes channels of its own."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._certificates = certificates or Certificates()
        self._process = os.getpid()
        self._channels: dict[Address, _Channel] = {}

    def send(self, sendings: list[Sending]) -> list[Outcome]:
        with _CALLS.call():
            if os.getpid() != self._process:
                self._process, self._channels = os.getpid(), {}
            if len(sendings) == 1:
                outcomes = [self._channel(sendings[0].address).call(sendings[0])]
            else:
                outcomes = self._several(sendings)
            return [trust.explained(*pair, self._certificates) for pair in zip(sendings, outcomes, strict=True)]

    def close(self) -> None:
        with _CALLS.call():
            if os.getpid() == self._process:
                for channel in list(self._channels.values()):
                    channel.close()
            self._channels = {}

    def _several(self, sendings: list[Sending]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        under_way: deque[_Future] = deque()
        try:
            for sending in sendings:
                if len(under_way) == WINDOW:
                    outcomes.append(under_way.popleft().outcome())
                under_way.append(self._channel(sending.address).begin(sending))
            while under_way:
                outcomes.append(under_way.popleft().outcome())
        finally:
            for future in under_way:
                future.cancel()
        return outcomes

    def _channel(self, address: Address) -> "_Channel":
        if address not in self._channels:
            _tell_of_gevent()
            made = _Channel(grpc_message.channel(grpc, address, self._certificates))
            # Of two threads that come first one's channel is kept, and both use that.
            if self._channels.setdefault(address, made) is not made:
                made.close()
        return self._channels[address]


class _Channel:
    """A connection to one server, and how many bytes were sent over it since anything came back."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._unanswered = 0
        self.abandoned = False

    def close(self) -> None:
        """Cancel what is under way. gRPC waits for a call that was left in the middle of its writing: in a thread."""
        if self.abandoned:
            threading.Thread(target=self._channel.close, daemon=True).start()
        else:
            self._channel.close()

    def call(self, sending: Sending) -> Outcome:
        """Send, wait and read."""
        method, message = grpc_message.written(sending)
        self._unanswered += message.ByteSize()
        if self._unanswered > SURELY_TAKEN:
            return self._begun(sending, method, message).outcome()
        try:
            send = getattr(self._stub, method)
            answer = send(message, timeout=sending.deadline.timeout(), metadata=grpc_message.metadata(sending))
        except TimeoutError:
            return late(sending, not_run=True)
        except grpc.RpcError as error:
            return grpc_message.refusal(sending, error)
        self.answered()
        return grpc_message.read(sending, answer)

    def begin(self, sending: Sending) -> "_Future":
        """Send, and wait for nothing."""
        return self._begun(sending, *grpc_message.written(sending))

    def answered(self) -> None:
        """The peer reads."""
        self._unanswered = 0

    def _begun(self, sending: Sending, method: str, message: Any) -> "_Future":
        send = getattr(self._stub, method).future
        # gRPC takes a timeout that is over already; with a moment more, `_Future` is the one that tells of it.
        timeout, metadata = sending.deadline.left() + 0.001, grpc_message.metadata(sending)
        return _Future(self, sending, send(message, timeout=timeout, metadata=metadata))


class _Future:
    """A call under way."""

    def __init__(self, channel: _Channel, sending: Sending, future: Any) -> None:
        self._channel, self._sending, self._future = channel, sending, future

    def outcome(self) -> Outcome:
        """Wait until the deadline, and read."""
        try:
            answer = self._future.result(timeout=self._sending.deadline.left())
        except grpc.FutureTimeoutError:
            self._channel.abandoned = True
            self.cancel()
            return late(self._sending)
        except grpc.RpcError as error:
            return grpc_message.refusal(self._sending, error)
        except BaseException:
            self.cancel()
            raise
        self._channel.answered()
        return grpc_message.read(self._sending, answer)

    def cancel(self) -> None:
        """Tell the server that nobody waits."""
        self._future.cancel()


def _tell_of_gevent() -> None:
    """Where gevent has patched this process, gRPC's core would block every greenlet unless it is told."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        import grpc.experimental.gevent

        grpc.experimental.gevent.init_gevent()
