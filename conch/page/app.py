"""The page as a web application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from nicegui import ui
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

import conch.report
from clients import ClientError
from conch.page.character_page import CharacterPanel, characters_of, others_of_characters
from conch.page.elements import alert, choice, html, say, tag
from conch.page.model_page import Panel, alike, head
from conch.page.samples import samples_of
from conch.page.server_page import ServerPanel
from conch.page.site import READY_S, Site, add_receiving, model_path
from conch.page.tensors import reads_characters

STYLES = (Path(conch.report.__file__).parent / "style.css", Path(__file__).parent / "style.css")
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><circle cx='16' cy='16' r='14' fill='#2f6db3'/>"
    "<path d='M22 10a8 8 0 1 0 0 12' fill='none' stroke='#fff' stroke-width='4' stroke-linecap='round'/></svg>"
)
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; frame-ancestors 'none'; form-action 'none'"
)
"""The library compiles its templates in the browser; from elsewhere than this page nothing is loaded."""
EVERY_NAME = "*"


def application(site: Site, host: str) -> FastAPI:
    """The page of `site`, for browsers that call it by `host` or, on loopback, by its names."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_receiving(app, site)
    add_pages(site)
    ui.run_with(
        app,
        title="Conch",
        dark=None,
        language="en-US",
        favicon=ICON,
        tailwind=False,
        show_welcome_message=False,
    )
    app.add_middleware(BaseHTTPMiddleware, dispatch=_guarded)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_names(host), www_redirect=False)
    return app


def add_pages(site: Site) -> None:
    """The server's page, and one for each model."""
    ui.add_head_html("".join(f"<style>{style.read_text()}</style>" for style in STYLES), shared=True)

    @ui.page("/", title="Conch")
    def server() -> None:
        with site.frame("Server", "/"):
            ServerPanel(site).build()

    @ui.page("/model/{name:path}", title="Conch")
    def model(name: str, version: str = "") -> None:
        with site.frame(name, model_path(name)) as (main, _):
            tag("h1", name)
            loading = html('<p class="soft">asking the server ...</p>')
            trouble = alert()
        ModelPage(site, name, version, main, loading, trouble)


class ModelPage:
    """Builds a model's panel when the server says what it is; asks again until it does."""

    def __init__(self, site: Site, name: str, version: str, main: Any, loading: Any, trouble: Any) -> None:
        self.site, self.name, self.version = site, name, version
        self.main, self.loading, self.trouble = main, loading, trouble
        self._timer = ui.timer(READY_S, self._load, immediate=True)

    async def _load(self) -> None:
        asked = self.site.asked(self.name, self.version)
        try:
            await self.site.wait(lambda: asked.metadata)
            characters = await self.site.wait(characters_of, asked) if reads_characters(asked.metadata) else None
            samples = await self.site.wait(samples_of, self.site.repository, asked.metadata)
            others = await self.site.wait(alike, self.site, asked)
            speakers = await self.site.wait(others_of_characters, asked) if characters else []
        except ClientError as error:
            say(self.trouble, str(error))
            self.loading.set_content("")
            return
        self._timer.cancel()
        self.loading.delete()
        say(self.trouble, "")
        with self.main:
            html(head(asked), "p").classes("soft small")
            self._versions(asked.metadata.versions)
            panel: Panel | CharacterPanel
            if characters is not None and not self.version:
                panel = CharacterPanel(self.site, asked, characters, speakers)
            else:
                panel = Panel(self.site, asked, samples, others)
            panel.build()
        await panel.begin()

    def _versions(self, versions: tuple[str, ...]) -> None:
        if len(versions) < 2 and not self.version:
            return
        options = [("", "the live one"), *((version, version) for version in versions)]

        def chosen(version: str) -> None:
            ui.navigate.to(model_path(self.name) + (f"?version={version}" if version else ""))

        choice("Version", options, self.version, chosen)


async def _guarded(request: Request, call: RequestResponseEndpoint) -> Response:
    """Each answer forbids the browser to load anything from elsewhere, and to be shown inside another page."""
    response = await call(request)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _names(host: str) -> list[str]:
    """What a browser may call this page: on loopback no name that another site could have pointed here."""
    own = ["localhost", "127.0.0.1", "[::1]"]
    return own if host in ("localhost", "127.0.0.1", "::1") else [EVERY_NAME]
