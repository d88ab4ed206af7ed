"""The filter's side of HTTP: nginx sends it each request with a body, and asks whether that may go to Triton.

A small HTTP/1.1 server for nginx alone, which has put each request into one piece with a Content-Length, and sends the
next one of a connection when it has the answer. "Yes" is the header X-Accel-Redirect, by which nginx sends the body
that it has kept to Triton; tensors behind the JSON are counted here, and not kept.

Source: nginx, ngx_http_proxy_module (X-Accel-Redirect; a named location keeps method and body).
"""

import asyncio
import json
import logging
import re
from collections.abc import Coroutine
from typing import Any

from serving.guard.json_requests import check_inference, read
from serving.guard.limits import Limits
from serving.guard.tensors import Refusal
from serving.guard.text_outputs import TextOutputs

PASS = b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: @triton\r\nContent-Length: 0\r\n\r\n"
HEAD_END = b"\r\n\r\n"
INFER = re.compile(r"/v2/models/(?P<model>[^/]+)(/versions/(?P<version>[0-9]+))?/infer")

log = logging.getLogger(__name__)


class HttpCheck(asyncio.Protocol):
    """One connection of nginx."""

    def __init__(self, limits: Limits, texts: TextOutputs, shared_memory: bool) -> None:
        self._limits, self._texts, self._shared_memory = limits, texts, shared_memory
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._path = ""
        self._json = self._body = self._kept = self._left = 0
        self._in_body = False
        self._refused: Refusal | None = None
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: nginx has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio's: more of a request."""
        if not self._in_body:
            self._received += data
            if (end := self._received.find(HEAD_END)) < 0:
                return
            self._read_head(bytes(self._received[:end]))
            data = bytes(self._received[end + len(HEAD_END) :])
            self._received.clear()
        self._left -= len(data)
        if (room := self._json - len(self._received)) > 0:
            self._received += data[:room]
        if self._left <= 0:
            self._in_body = False
            self._answering = asyncio.ensure_future(self._answer())

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._path = first.split(" ")[1]
        self._refused = None
        self._body = self._left = int(headers.get("content-length", "0"))
        try:
            self._json = _json_length(headers.get("inference-header-content-length"), self._body, self._limits)
        except Refusal as refusal:
            self._refused, self._json = refusal, 0
        self._in_body = True

    async def _answer(self) -> None:
        try:
            if self._refused:
                raise self._refused
            await self._check(bytes(self._received))
            answer = PASS
        except Refusal as refusal:
            answer = _error(400, str(refusal))
        except Exception:
            log.exception("a request could not be checked")
            answer = _error(500, "the guard could not check this request")
        self._received.clear()
        if not self._transport.is_closing():
            self._transport.write(answer)

    async def _check(self, text: bytes) -> None:
        if not (asked := INFER.fullmatch(self._path)):
            if text:
                read(text)
            return
        found = check_inference(text, self._body - self._json, shared_memory=self._shared_memory)
        if found.classified:
            await self._texts.check(asked["model"], asked["version"] or "", found.classified)


def _json_length(stated: str | None, body: int, limits: Limits) -> int:
    """How many of the body's first bytes are JSON."""
    if stated and not (stated.isascii() and stated.isdigit() and len(stated) < 12 and int(stated) <= body):
        raise Refusal(f"Inference-Header-Content-Length is {stated[:40]!r}, the body has {body} bytes")
    length = int(stated) if stated else body
    if length > limits.json:
        raise Refusal(
            f"the request has {length} bytes of JSON, allowed are {limits.json}: send tensors in binary, or ask for a "
            "higher limit (--max-json)"
        )
    return length


def _error(status: int, text: str) -> bytes:
    body = json.dumps({"error": f"refused before the server: {text}"}).encode()
    reason = {400: "Bad Request", 500: "Internal Server Error"}[status]
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def serving(limits: Limits, texts: TextOutputs, shared_memory: bool, path: str) -> Coroutine[Any, Any, asyncio.Server]:
    """A server of it at the Unix socket `path`."""
    return asyncio.get_running_loop().create_unix_server(lambda: HttpCheck(limits, texts, shared_memory), path)
