"""gRPC on grpcio's blocking channel."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from clients.address import Address
from clients.calls import Outcome, Sending
from clients.certificates import Certificates
from clients.forking import Calls
from clients.transports import grpc_message, trust
from clients.transports.transport import Transport, UnderWay, late

SURELY_TAKEN = 1 << 14
"""Bytes that a socket takes although its peer reads none. While more than it takes is being written, gRPC ends a call
only when that is done, or the connection is dropped, deadline or not (grpc/grpc issue 15889). Calls of more are made as
futures, which cost a tenth more of a small call's time, and are waited for no longer than the deadline."""

HEADER = 1 << 9
"""Bytes of a request that has no tensors, about."""

GEVENT_THREADS = 1024
"""At most, in which calls wait that greenlets make, a call in each. gevent has ten: with slow calls in all of them, one
that is answered would return when one of those does. They are made as they are needed."""

_CALLS = Calls()


class GrpcTransport(Transport):
    """A channel for each server; a fork waits for the calls under way, and the child makes channels of its own."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._certificates = certificates or Certificates()
        self._process = os.getpid()
        self._channels: dict[Address, _Channel] = {}

    def send(self, sendings: list[Sending]) -> list[Outcome]:
        if len(sendings) > 1:
            return super().send(sendings)
        with _CALLS.call():
            return [self._channel(sendings[0].address).call(sendings[0])]

    def begin(self, sending: Sending) -> "_Future":
        with _CALLS.call():
            future = self._channel(sending.address).begin(sending)
            _CALLS.going_on(future.add_done_callback)
        return future

    def close(self) -> None:
        with _CALLS.call():
            if os.getpid() == self._process:
                for channel in list(self._channels.values()):
                    channel.close()
            self._channels = {}

    def _channel(self, address: Address) -> "_Channel":
        if os.getpid() != self._process:
            self._process, self._channels = os.getpid(), {}
        if address not in self._channels:
            _tell_of_gevent()
            made = _Channel(grpc_message.channel(grpc, address, self._certificates), self._certificates)
            # Of two threads that come first one's channel is kept, and both use that.
            if self._channels.setdefault(address, made) is not made:
                made.close()
        return self._channels[address]


class _Channel:
    """A connection to one server, and how many bytes were sent over it since anything came back."""

    def __init__(self, channel: grpc.Channel, certificates: Certificates) -> None:
        self._channel, self._certificates = channel, certificates
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
        self._unanswered += grpc_message.size(sending) + HEADER
        if self._unanswered > SURELY_TAKEN:
            return self._begun(sending, method, message).finish()
        try:
            send = getattr(self._stub, method)
            answer = send(message, timeout=sending.deadline.timeout(), metadata=grpc_message.metadata(sending))
        except TimeoutError:
            return late(sending, not_run=True)
        except grpc.RpcError as error:
            return self.refusal(sending, error)
        self.answered()
        return grpc_message.read(sending, answer)

    def begin(self, sending: Sending) -> "_Future":
        """Send, and wait for nothing."""
        return self._begun(sending, *grpc_message.written(sending))

    def refusal(self, sending: Sending, error: grpc.RpcError) -> Outcome:
        """What an error means."""
        return trust.explained(sending, grpc_message.refusal(sending, error), self._certificates)

    def answered(self) -> None:
        """The peer reads."""
        self._unanswered = 0

    def _begun(self, sending: Sending, method: str, message: Any) -> "_Future":
        send = getattr(self._stub, method).future
        # gRPC takes a timeout that is over already; with a moment more, `_Future` is the one that tells of it.
        timeout, metadata = sending.deadline.left() + 0.001, grpc_message.metadata(sending)
        return _Future(self, sending, send(message, timeout=timeout, metadata=metadata))


class _Future(UnderWay):
    """A call under way."""

    def __init__(self, channel: _Channel, sending: Sending, future: Any) -> None:
        self._channel, self._sending, self._future = channel, sending, future

    def ready(self) -> bool:
        return bool(self._future.done())

    def finish(self) -> Outcome:
        try:
            answer = self._future.result(timeout=self._sending.deadline.left())
        except grpc.FutureTimeoutError:
            self._channel.abandoned = True
            self.drop()
            return late(self._sending)
        except grpc.RpcError as error:
            return self._channel.refusal(self._sending, error)
        except BaseException:
            self.drop()
            raise
        self._channel.answered()
        return grpc_message.read(self._sending, answer)

    def drop(self) -> None:
        self._future.cancel()  # which the server is told

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """To be called when the call is over, wherever."""
        self._future.add_done_callback(callback)


def _tell_of_gevent() -> None:
    """Where gevent has patched this process, gRPC's core would block every greenlet unless it is told."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        import gevent
        import grpc.experimental.gevent

        grpc.experimental.gevent.init_gevent()
        pool = gevent.get_hub().threadpool
        pool.maxsize = max(pool.maxsize, GEVENT_THREADS)
