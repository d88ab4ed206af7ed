"""Open a page on which people try the models of a running server, and get the code to call them.

examples:
  conch page                                    of the server at localhost:8000, at http://127.0.0.1:8080
  conch page --url localhost:9000 --port 0      of another one, at a free port
  conch serve -- conch page                     both, until Ctrl-C

It needs the extra `page`: pip install 'conch[page]'. It speaks to the server as any client, loads nothing from
elsewhere and keeps nothing. Exit code: 0 after Ctrl-C, 2 for words that make no command.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from clients.address import is_loopback, resolve, resolve_all
from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import BadCommand, exit_code
from clients.errors import ClientError
from clients.terminal import Terminal, say
from conch.contracts.artifacts import models_folder


@dataclass(frozen=True, kw_only=True)
class Page(Endpoint):
    """The page of a running server."""

    host: str = "127.0.0.1"
    """Where it listens. Whoever reaches it can use the models: beyond loopback put a proxy with a login before it."""

    port: int = 8080
    """Its port; 0 takes a free one and says which."""

    repository: Path | None = None
    """The model repository, whose golden inputs are offered as samples; default: $CONCH_ARTIFACTS/models."""

    metrics: str | None = None
    """host:port of the server's metrics, which tell what waits and what models run on; default: $CONCH_METRICS."""

    json: tyro.conf.Suppress[bool] = False

    def run(self, client: Client, console: Console) -> int:
        """Serve it until Ctrl-C."""
        import uvicorn

        from conch.page.app import application
        from conch.page.site import Site
        from conch.page.snippets import Where

        listening = _listening(self.host, self.port)
        address = resolve_all(self.url or None, self.protocol)[0]
        where = Where.behind(self.access.door(address))
        named = self.metrics or os.environ.get("CONCH_METRICS")
        metrics = self.access.metrics_door(resolve(named, "http"), address) if named else None
        site = Site(client, where, _repository(self.repository), metrics)
        app = application(site, self.host)
        config = uvicorn.Config(
            app, log_level="warning", ws_max_size=2**20, timeout_graceful_shutdown=2, server_header=False
        )
        host = f"[{self.host}]" if ":" in self.host else self.host
        console.print(
            f"page: http://{host}:{listening.getsockname()[1]}", markup=False, highlight=False, soft_wrap=True
        )
        if not is_loopback(f"{host}:1"):
            say("note: others can reach this page, and by it the models; put a proxy with a login before it")
        uvicorn.Server(config).run(sockets=[listening])
        return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run `conch page` with these words; the exit code."""
    page = tyro.cli(Page, prog="conch page", description=__doc__, args=sys.argv[1:] if words is None else list(words))
    import conch.page.app  # noqa: F401  # what is not installed is told before anything is done

    try:
        with page.connect() as client:
            return page.run(client, Terminal())
    except ClientError as error:
        say(f"error: {error}")
        return exit_code(error)
    except KeyboardInterrupt:
        return 0


def _repository(named: Path | None) -> Path | None:
    """Raises BadCommand for a folder that was named and is none."""
    if named is not None and not named.is_dir():
        raise BadCommand(f"--repository {named}: no such folder")
    folder = named or models_folder()
    return folder if folder.is_dir() else None


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises BadCommand."""
    if not 0 <= port <= 65_535:
        raise BadCommand(f"--port {port}: allowed are 0 to 65535")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise BadCommand(
            f"--host {host} --port {port}: {error.strerror or error}; --port 0 takes a free one"
        ) from error
    return listening


if __name__ == "__main__":
    sys.exit(main())
