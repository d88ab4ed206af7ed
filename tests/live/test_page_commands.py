"""The commands of docs/page.md as they stand there, and the code that a page shows of a server behind its guard."""

import contextlib
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.server.server import Server
from tests.support.authority import Authority
from tests.support.browser import chromium, running_command
from tests.support.guarded import by_name, guarded, with_tls
from tests.support.nginx import INSTALL, PROGRAM
from tests.support.page_models import publish_letters, publish_strangers
from tests.support.page_site import WAYS, Site, answer, opened, run_all

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
TOKEN = "of-this-page-alone-1"
FREE_PORTS = "conch serve --http-port 0 --grpc-port 0 --metrics-port 0"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server, which each test opens a page of, and the browser."""
    folder = tmp_path_factory.mktemp("page")
    with chromium() as browser:
        publish_letters(folder / "models")
        publish_strangers(folder / "models")
        with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
            yield Site("", server, browser, folder)


def commands() -> list[list[str]]:
    """The words of each command of the page, but for what installs it."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line and not line.startswith("pip install")]


def test_the_commands_open_a_page_of_the_server(site: Site, tmp_path: Path) -> None:
    serve, page, both, _ = commands()
    assert serve == ["conch", "serve"]  # the server of this test
    here = {"CONCH_HTTP": site.server.http, "CONCH_METRICS": site.server.metrics}
    together = shlex.split(shlex.join(both).replace("conch serve", FREE_PORTS))
    alone = tmp_path / "artifacts"  # one model is loaded soon
    shutil.copytree(site.folder / "models" / "stranger", alone / "models" / "stranger")
    for words, artifacts, variables in ((page, site.folder, here), (together, alone, {})):
        with (
            running_command(words, tmp_path, artifacts, **variables) as address,
            opened(replace(site, address=address), "/") as shown,
        ):
            row = shown.get_by_role("row").filter(has=shown.get_by_role("link", name="stranger"))
            row.get_by_text("ready").wait_for()
            shown.get_by_role("columnheader", name="waiting").wait_for()  # which the metrics tell


@pytest.mark.skipif(PROGRAM is None, reason=INSTALL)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_code_of_a_guarded_server_runs_as_it_is_shown(
    site: Site, protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder that the page was begun in, which names its certificates; the token is in no code."""
    authority = Authority(tmp_path)
    (tmp_path / "token.txt").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("CONCH_TOKEN", TOKEN)  # as the code asks its reader for it
    monkeypatch.chdir(tmp_path)
    words, folder = commands()[-1], tmp_path / "page"
    folder.mkdir()
    for file in ("ca.pem", "token.txt"):
        (folder / file).write_bytes((tmp_path / file).read_bytes())
    with guarded(site.server, tmp_path, with_tls(authority, authority.good, tokens=(TOKEN,))) as guard:
        urls = by_name(guard)
        places = {"https://localhost:8443": urls[protocol], "https://localhost:8445": urls["metrics"]}
        assert places.keys() < set(words)
        begun = [places.get(word, word) for word in words]
        with running_command(begun, folder, site.folder, CONCH_TOKEN="") as address, contextlib.ExitStack() as stack:
            for model in ("half", "far", "letters_stream"):
                page = stack.enter_context(opened(replace(site, address=address), f"/model/{model}"))
                answer(page).get_by_text("ran on CPU").first.wait_for()
                run_all(page, WAYS if protocol == "http" else WAYS[1:], tmp_path)
                assert TOKEN not in page.content()
