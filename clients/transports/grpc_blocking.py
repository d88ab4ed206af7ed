"""gRPC on grpcio's blocking channel."""

import os
import sys
from collections import deque
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from clients.address import Address
from clients.calls import Outcome, Sending
from clients.forking import Calls
from clients.transports import grpc_message
from clients.transports.transport import WINDOW, Transport, late

_CALLS = Calls()


class GrpcTransport(Transport):
    """A channel for each server; a fork waits for the calls under way, and the child makes channels of its own."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._channels: dict[Address, tuple[grpc.Channel, Any]] = {}

    def send(self, sendings: list[Sending]) -> list[Outcome]:
        with _CALLS.call():
            if os.getpid() != self._process:
                self._process, self._channels = os.getpid(), {}
            return [self._one(sendings[0])] if len(sendings) == 1 else self._several(sendings)

    def close(self) -> None:
        with _CALLS.call():
            if os.getpid() == self._process:
                for channel, _ in list(self._channels.values()):
                    channel.close()
            self._channels = {}

    def _one(self, sending: Sending) -> Outcome:
        method, message = grpc_message.written(sending)
        try:
            send = getattr(self._stub(sending.address), method)
            answer = send(message, timeout=sending.deadline.timeout(), metadata=grpc_message.metadata(sending))
        except TimeoutError:
            return late(sending, not_run=True)
        except grpc.RpcError as error:
            return grpc_message.refusal(sending, error)
        return grpc_message.read(sending, answer)

    def _several(self, sendings: list[Sending]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        under_way: deque[tuple[Sending, Any]] = deque()
        try:
            for sending in sendings:
                if len(under_way) == WINDOW:
                    outcomes.append(self._finished(*under_way.popleft()))
                method, message = grpc_message.written(sending)
                send = getattr(self._stub(sending.address), method).future
                timeout, metadata = sending.deadline.left(), grpc_message.metadata(sending)
                under_way.append((sending, send(message, timeout=timeout, metadata=metadata) if timeout else None))
            while under_way:
                outcomes.append(self._finished(*under_way.popleft()))
        finally:
            for _, future in under_way:
                if future is not None:
                    future.cancel()
        return outcomes

    def _finished(self, sending: Sending, future: Any) -> Outcome:
        if future is None:
            return late(sending, not_run=True)
        try:
            return grpc_message.read(sending, future.result())
        except grpc.RpcError as error:
            return grpc_message.refusal(sending, error)
        except BaseException:
            future.cancel()
            raise

    def _stub(self, address: Address) -> Any:
        if address not in self._channels:
            _tell_of_gevent()
            channel = grpc.insecure_channel(address.target, grpc_message.options(address))
            # Of two threads that come first one's channel is kept, and both use that.
            kept, _ = self._channels.setdefault(address, (channel, service_pb2_grpc.GRPCInferenceServiceStub(channel)))
            if kept is not channel:
                channel.close()
        return self._channels[address][1]


def _tell_of_gevent() -> None:
    """Where gevent has patched this process, gRPC's core would block every greenlet unless it is told."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        import grpc.experimental.gevent

        grpc.experimental.gevent.init_gevent()
