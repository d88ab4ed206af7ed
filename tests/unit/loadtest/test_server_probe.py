"""The process that watches a server reaches it by the network alone."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from clients.access import Door
from clients.address import Address
from loadtest.server_probe import _get


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"metrics")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_loopback_is_asked_of_no_proxy(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    found = {
        host: _get(Door(Address("http", f"{host}:{port}")), "/metrics")
        for host in ("127.0.0.1", "localhost", "example.invalid")
    }
    assert found == {"127.0.0.1": "metrics", "localhost": "metrics", "example.invalid": None}
