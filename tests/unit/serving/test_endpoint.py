"""What is asked of a server is understood, and what is no server is said to be none."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving.errors import ServingError
from serving.kserve.endpoint import ModelState, model_states, server_version

INDEX = [
    {"name": "b", "version": "2", "state": "READY"},
    {"name": "b", "version": "10", "state": "UNAVAILABLE", "reason": "broken"},
    {"name": "a"},
]


class Answers(BaseHTTPRequestHandler):
    """The index to a POST, something else than Triton's answer to a GET."""

    def do_POST(self) -> None:
        self._answer(json.dumps(INDEX))

    def do_GET(self) -> None:
        self._answer("<html>hello</html>")

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_states_are_sorted_by_name_and_number(address: str) -> None:
    assert model_states(address) == [
        ModelState("a", "-", "UNAVAILABLE", "no version"),
        ModelState("b", "2", "READY", ""),
        ModelState("b", "10", "UNAVAILABLE", "broken"),
    ]


def test_another_server_is_told_apart(address: str) -> None:
    with pytest.raises(ServingError, match=f"what answers at {address} is no Triton server"):
        server_version(address)


@pytest.mark.parametrize("nowhere", ["127.0.0.1:9", "no.such.host.invalid:8000", "127.0.0.1:port"])
def test_no_server_names_the_command_that_starts_one(nowhere: str) -> None:
    with pytest.raises(ServingError, match=rf"{nowhere}.*conch serve|'{nowhere}' is no address"):
        model_states(nowhere)
