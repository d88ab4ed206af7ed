"""gRPC on grpcio's asyncio channel; a cancelled task's call is cancelled at the server."""

import asyncio
from typing import Any

import grpc.aio
from tritonclient.grpc import service_pb2_grpc

from clients.address import Address
from clients.calls import Outcome, Sending
from clients.certificates import Certificates
from clients.transports import grpc_message, trust
from clients.transports.asyncio_home import Home, all_of
from clients.transports.transport import AsyncTransport, late


class AsyncGrpcTransport(AsyncTransport):
    """A channel for each server."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._certificates = certificates or Certificates()
        self._home = Home()
        self._channels: dict[Address, tuple[grpc.aio.Channel, Any]] = {}

    async def send(self, sendings: list[Sending]) -> list[Outcome]:
        self._home.check()
        return await all_of([self._one(sending) for sending in sendings])

    async def close(self) -> None:
        for channel, _ in self._channels.values():
            await channel.close()
        self._channels = {}

    async def _one(self, sending: Sending) -> Outcome:
        method, message = grpc_message.written(sending)
        try:
            left, send = sending.deadline.timeout(), getattr(self._stub(sending.address), method)
            # gRPC keeps to no deadline while a peer does not read what it writes (grpc/grpc issue 15889). The call is
            # left at once; closing the last channel of the process waits until that connection is dropped.
            async with asyncio.timeout(left):
                answer = await send(message, timeout=left + 0.001, metadata=grpc_message.metadata(sending))
        except TimeoutError:
            return late(sending)
        except grpc.aio.AioRpcError as error:
            failure = grpc_message.refusal(sending, error)
            if not sending.address.tls:
                return failure
            return await asyncio.to_thread(trust.explained, sending, failure, self._certificates)
        return grpc_message.read(sending, answer)

    def _stub(self, address: Address) -> Any:
        if address not in self._channels:
            channel = grpc_message.channel(grpc.aio, address, self._certificates)
            self._channels[address] = channel, service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return self._channels[address][1]
