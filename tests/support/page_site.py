"""A page of models in a browser: how tests look at it, wait for it, and run the code that it shows."""

import contextlib
import io
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.server.server import Server

WAYS = ("curl", "Conch's client", "asyncio", "tritonclient")
SECONDS = 20_000
"""Milliseconds that an answer may take on a busy machine."""


@dataclass
class Site:
    """The page of a server, and the browser."""

    address: str
    server: Server
    browser: Any
    folder: Path


@contextlib.contextmanager
def opened(site: Site, path: str, **options: Any) -> Iterator[Any]:
    """A page, which loads nothing from elsewhere, logs no error and is as wide as its window."""
    with contextlib.closing(
        site.browser.new_context(permissions=["camera"], accept_downloads=True, **options)
    ) as context:
        context.set_default_timeout(SECONDS)
        page = context.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(site.address + path)
        yield page
        hosts = {urlsplit(url).hostname for url in asked if urlsplit(url).scheme not in ("data", "blob")}
        assert hosts == {"127.0.0.1"}
        unexpected = [said for said in wrong if "status of 4" not in said]  # of what the page refused
        assert not unexpected, unexpected
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def answer(page: Any) -> Any:
    """The place of the answer."""
    return page.get_by_label("Answer", exact=True)


def wait_for(page: Any, said: Callable[[], bool]) -> None:
    """Until it is so."""
    for _ in range(SECONDS // 50):
        if said():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within {SECONDS} ms: {answer(page).inner_text()}")


def run_all(page: Any, ways: Sequence[str], tmp_path: Path) -> None:
    """Run the code of each way as it is shown, with the files that it is shown with, and compare what it prints."""
    said: dict[str, str] = {}
    for way in ways:
        page.get_by_role("button", name=way, exact=True).click()
        page.locator('button[aria-pressed="true"]').filter(has_text=way).wait_for()
        code = page.locator("#code").inner_text()
        for button in page.get_by_role("button", name="Download").all():
            with page.expect_download() as download:
                button.click()
            download.value.save_as(tmp_path / download.value.suggested_filename)
        said[way] = run_shell(code) if way == "curl" else run_python(code)
    output = page.evaluate("document.querySelector('main p.small').innerText").partition("→")[2].split()[0]
    if "curl" in ways:
        assert output in said["curl"] or (tmp_path / "answer.bin").stat().st_size > 0
    assert output in said["Conch's client"]
    assert said["asyncio"] == said["Conch's client"]
    assert said["tritonclient"].startswith(output)


def run_shell(code: str) -> str:
    ended = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    if ended.stdout:
        assert "error" not in json.loads(ended.stdout)
    return ended.stdout


def run_python(code: str) -> str:
    """What it prints. In a thread: asyncio.run takes one that has no loop, and the browser's driver has one here."""
    told: list[str] = []

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
        told.append(out.getvalue())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert told, code
    return told[0]
