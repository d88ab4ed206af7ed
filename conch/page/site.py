"""What all parts of the page share: the server that it shows, what it takes from browsers, and its frame."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from nicegui import run, ui

from clients import Client, ClientError, ModelState
from clients.access import Door
from clients.server_statistics import read_providers
from conch.page.asking import Asked, Witness
from conch.page.elements import alert, links, say, tag
from conch.page.snippets import Where

log = logging.getLogger(__name__)

MOST_BYTES = 16 * 2**20
"""Of a file that a browser sends."""
READY_S = 2.0
"""How long a server is waited for that is asked whether it is there, and how often that is asked."""

Receiver = Callable[[bytes, str], Awaitable[None]]
"""Takes what a browser sent and its file's name. Raises ClientError."""


@dataclass
class Site:
    """The page of one server."""

    client: Client
    where: Where
    repository: Path | None
    metrics: Door | None
    receivers: dict[str, Receiver] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.witness = Witness()
        self.client.observe(self.witness)

    def asked(self, model: str, version: str = "") -> Asked:
        """A model to be asked."""
        return Asked(self.client, self.witness, model, version)

    def runs_on(self, asked: Asked, version: str) -> str:
        """In words, as far as it is told."""
        if self.metrics is not None:
            try:
                if found := read_providers(self.metrics, READY_S).get((asked.model, version)):
                    return f"on {found} ({', '.join(asked.metadata.instances)})"
            except ClientError:
                pass
        return ", ".join(asked.metadata.instances)

    def receive(self, receiver: Receiver) -> str:
        """A path to post files to, for as long as the browser shows this page."""
        token = secrets.token_urlsafe(24)
        self.receivers[token] = receiver
        ui.context.client.on_delete(lambda: self.receivers.pop(token, None))
        return f"/given/{token}"

    @contextmanager
    def frame(self, title: str, current: str) -> Iterator[tuple[Any, Any]]:
        """The head with all models, and under it what is put into the block; gives the line of errors."""
        ui.page_title(f"{title} - Conch")
        tag("a", "Skip to the model", "skip", href="#main")
        with tag("header", classes="top"):
            tag("strong", "Conch")
            navigation = tag("nav", aria_label="Models")
        state = alert().classes("state")
        with tag("div", id="main") as main:  # in the library's own main element
            yield main, navigation
        self._watch(navigation, current, state)

    def _watch(self, navigation: Any, current: str, state: Any) -> None:
        """Keep the list of models and the line that says whether the server is there."""
        shown: list[str] = []

        async def look() -> None:
            try:
                entries = await self.wait(self.client.models, READY_S)
            except ClientError as error:
                say(state, f"{error}; it is waited for")
                return
            say(state, "")
            names = ready_names(entries)
            if names != shown or not navigation.default_slot.children:
                shown[:] = names
                navigation.clear()
                with navigation:
                    links([("Server", "/"), *((name, model_path(name)) for name in names)], current)

        ui.timer(READY_S, look)

    @staticmethod
    async def wait(call: Callable[..., Any], *words: Any) -> Any:
        """The result of what waits for the server, in a thread of its own.

        Raises ClientError, and nothing else: what the page itself does wrong is a line there, and in whole in its log.
        """
        try:
            return await run.io_bound(call, *words)
        except ClientError:
            raise
        except Exception as error:
            log.exception("the page cannot show this")
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise ClientError(f"the page cannot show this ({said}); its log has more") from error


def ready_names(entries: list[ModelState]) -> list[str]:
    """The models that can be asked."""
    return sorted({entry.name for entry in entries if entry.state == "READY"})


def model_path(name: str) -> str:
    """Where a model's panel is."""
    return f"/model/{quote(name, safe='')}"


def add_receiving(app: FastAPI, site: Site) -> None:
    """The path that browsers post files to; a larger one than MOST_BYTES is refused while it comes."""

    @app.post("/given/{token}")
    async def given(token: str, request: Request) -> Response:
        receiver = site.receivers.get(token)
        if receiver is None:
            return PlainTextResponse("this page is out of date: load it anew", 404)
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MOST_BYTES:
                return PlainTextResponse(f"too large: at most {MOST_BYTES // 2**20} MiB are taken", 413)
        try:
            await receiver(bytes(content), unquote(request.headers.get("X-Name", ""))[:200])
        except ClientError as error:
            return PlainTextResponse(str(error), 422)
        return PlainTextResponse("")
