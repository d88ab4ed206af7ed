"""The filter's side of gRPC: it answers nginx, and calls Triton by itself.

What a caller breaks off is not broken off at Triton, which dies of many such calls (2.51): it is finished, and nobody
takes the answer. So a call holds one of the places for calls until Triton has answered it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from serving.guard import grpc_messages
from serving.guard.limits import Limits
from serving.guard.routes import INFERENCE, STREAM
from serving.guard.tensors import Refusal
from serving.guard.text_outputs import TextOutputs

SECONDS = 600.0
"""Within which Triton answers a call, whatever its caller's deadline."""
PASSED_ON = ("traceparent", "tracestate", "triton-request-id")
"""Metadata that goes to Triton, which can be told to trace requests."""

Call = Callable[..., Awaitable[bytes]]


class GrpcHop(grpc.GenericRpcHandler):
    """Answers the methods `opened`, each "/SERVICE/METHOD", by those of the server behind `channel`."""

    def __init__(
        self, limits: Limits, texts: TextOutputs, channel: grpc.aio.Channel, opened: frozenset[str], shared_memory: bool
    ) -> None:
        self._texts, self._channel, self._shared_memory = texts, channel, shared_memory
        self._places = limits.requests
        self._handlers = {path: self._handler(path) for path in opened}
        self._under_way: set[asyncio.Future[Any]] = set()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """gRPC's: the handler of a method, or None where it is shut."""
        return self._handlers.get(details.method)

    def _handler(self, path: str) -> grpc.RpcMethodHandler:
        if path == STREAM:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        call, kind = self._channel.unary_unary(path), grpc_messages.request_class(path)
        assert kind is not None, path

        async def answer(data: bytes, context: Any) -> bytes:
            checked = await self._checked(kind, data, path in INFERENCE)
            del data  # a call that is ended here stays in memory until the collector finds it
            if isinstance(checked, Refusal):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _said(checked))
                raise checked
            if len(self._under_way) >= self._places:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._places} calls are under way")
            return await self._finished(call, checked, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _checked(self, kind: type[Any], data: bytes, inference: bool) -> bytes | Refusal:
        """The message, written anew, or why it is refused."""
        try:
            message = grpc_messages.read(kind, data)
            if inference:
                await self._check(message)
        except Refusal as refusal:
            return refusal.with_traceback(None)
        return bytes(message.SerializeToString())

    async def _check(self, message: Any) -> None:
        if classified := grpc_messages.check_inference(message, shared_memory=self._shared_memory):
            await self._texts.check(message.model_name, message.model_version, classified)

    async def _finished(self, call: Call, data: bytes, context: Any) -> bytes:
        """Triton's answer. A caller that leaves cancels this, not the call."""
        asked = asyncio.ensure_future(_awaited(call(data, timeout=SECONDS, metadata=_passed_on(context))))
        self._under_way.add(asked)
        asked.add_done_callback(self._done)
        try:
            return await asyncio.shield(asked)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
            raise

    def _done(self, asked: asyncio.Future[Any]) -> None:
        self._under_way.discard(asked)
        asked.cancelled() or asked.exception()  # taken, or asyncio complains that nobody did

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Checked messages on, answers back; what is refused is answered here, as Triton answers what it refuses."""
        if len(self._under_way) >= self._places:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._places} calls are under way")
        call = self._channel.stream_stream(STREAM)(metadata=_passed_on(context))
        answers: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(maxsize=16)
        taking = asyncio.ensure_future(_take(call, answers))
        sending = asyncio.ensure_future(self._send(requests, call, answers))
        self._under_way.add(taking)
        taking.add_done_callback(self._done)
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, grpc.aio.AioRpcError):
                    await context.abort(answer.code(), answer.details() or "")
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    yield answer
        finally:
            self._let_end(answers, asyncio.gather(taking, sending))

    async def _send(self, requests: AsyncIterator[bytes], call: Any, answers: asyncio.Queue[Any]) -> None:
        try:
            async for data in requests:
                try:
                    message = grpc_messages.read(service_pb2.ModelInferRequest, data)
                    await self._check(message)
                except Refusal as refusal:
                    await answers.put(_refused(data, refusal))
                    continue
                await call.write(message.SerializeToString())
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended, which who takes the answers is told

    def _let_end(self, answers: asyncio.Queue[Any], both: asyncio.Future[Any]) -> None:
        """Have Triton finish a stream whose caller has left, and throw its answers away.

        gRPC ends the caller's requests when it leaves, and with them what is written to Triton.
        """

        async def end() -> None:
            while not both.done():
                while not answers.empty():
                    answers.get_nowait()
                await asyncio.wait([both], timeout=0.05)

        ending = asyncio.ensure_future(end())
        self._under_way.add(ending)
        ending.add_done_callback(self._done)


async def _awaited(call: Awaitable[bytes]) -> bytes:
    return await call


async def _take(call: Any, answers: asyncio.Queue[Any]) -> None:
    """Triton's answers of a stream into the queue, and None at their end, or the error."""
    try:
        async for answer in call:
            await answers.put(answer)
    except grpc.aio.AioRpcError as error:
        await answers.put(error)
    else:
        await answers.put(None)


def _refused(data: bytes, refusal: Refusal) -> bytes:
    answer = service_pb2.ModelStreamInferResponse(error_message=_said(refusal))
    try:
        answer.infer_response.id = grpc_messages.read(service_pb2.ModelInferRequest, data).id
    except Refusal:
        answer.infer_response.SetInParent()
    return answer.SerializeToString()


def _said(refusal: Refusal) -> str:
    return f"refused before the server: {refusal}"


def _passed_on(context: Any) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in context.invocation_metadata() or () if key in PASSED_ON)
