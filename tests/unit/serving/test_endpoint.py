"""What is asked of a server is understood, what it refuses is told, and what is no server is said to be none."""

import json
import time
from collections.abc import Iterator

import pytest

from serving.errors import ServingError
from serving.kserve.address import same_place
from serving.kserve.endpoint import ControlClient, ModelState, NoAnswer, Refused, model_states, server_version
from tests.support.http_servers import Answering, answering

INDEX = [
    {"name": "b", "version": "2", "state": "READY"},
    {"name": "b", "version": "10", "state": "UNAVAILABLE", "reason": "broken"},
    {"name": "a"},
]
ANSWERS = {
    "GET /v2": "<html>hello</html>",
    "POST /v2/repository/index": json.dumps(INDEX),
    "GET /v2/models/b/versions/2/config": '{"max_batch_size": 8}',
    "GET /v2/models/b/versions/2/stats": '{"model_stats": [{"inference_count": "7"}]}',
    "GET /v2/models/a/versions/1/stats": "[]",
    "POST /v2/repository/models/b/load": "",
    "POST /v2/repository/models/a%20b/unload": "",
    "GET /metrics": "nv_inference_count 7\n",
}
ERRORS = {
    "POST /v2/repository/models/broken/load": '{"error": "failed to load \'broken\',\\n no version"}',
    "GET /v2/models/b/versions/9/config": "",
}


class Answers(Answering):
    """The answers above on connections that stay open; to `/v2/models/slow/...` one that comes too late."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        asked = f"{self.command} {self.path}"
        if "slow" in self.path:
            time.sleep(0.3)
        text = ANSWERS.get(asked, ERRORS.get(asked, "{}")).encode()
        self.answer(text, 400 if asked in ERRORS else 200)


@pytest.fixture
def address() -> Iterator[str]:
    with answering(Answers) as port:
        yield f"127.0.0.1:{port}"


def test_states_are_sorted_by_name_and_number(address: str) -> None:
    assert model_states(address) == [
        ModelState("a", "-", "UNAVAILABLE", "not loaded, the log of the server says why"),
        ModelState("b", "2", "READY", ""),
        ModelState("b", "10", "UNAVAILABLE", "broken"),
    ]


def test_one_connection_asks_everything(address: str) -> None:
    with ControlClient(address) as client:
        assert client.config("b", "2") == {"max_batch_size": 8}
        assert client.statistics("b", "2") == {"inference_count": "7"}
        client.load("b")
        client.unload("a b")
        assert client.metrics() == "nv_inference_count 7\n"
        assert len(client.index()) == 3


def test_an_address_is_taken_in_each_form_and_under_a_base_path(address: str) -> None:
    states = model_states(address)
    assert model_states(f"http://{address}/") == states
    with (
        ControlClient(f"http://{address}/a/proxy") as client,
        pytest.raises(NoAnswer, match=f"at http://{address}/a/p"),
    ):
        client.about()
    with pytest.raises(ServingError, match="grpc://box:8001 is a grpc address, but http is asked for"):
        ControlClient("grpc://box:8001")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1:8000", "localhost:8000", True),
        ("box:8000", "box:8000", True),
        ("127.0.0.1:8000", "localhost:8001", False),
        ("127.0.0.1:8000", "box:8000", False),
    ],
)
def test_one_place_has_several_names(one: str, other: str, same: bool) -> None:
    assert same_place(one, other) == same


def test_a_refusal_is_told_in_one_line_and_the_connection_goes_on(address: str) -> None:
    with ControlClient(address) as client:
        with pytest.raises(Refused, match=r"refuses POST .*broken/load") as refused:
            client.load("broken")
        assert refused.value.reason == "failed to load 'broken', no version"
        client.load("b")


def test_what_comes_too_late_is_not_the_next_answer(address: str) -> None:
    with ControlClient(address, timeout=0.1) as client:
        with pytest.raises(NoAnswer, match="timed out"):
            client.config("slow", "1")
        time.sleep(0.3)  # the late answer is there now
        assert client.config("b", "2") == {"max_batch_size": 8}


@pytest.mark.parametrize(("model", "version"), [("b", "9"), ("a", "1")])
def test_another_server_is_told_apart(address: str, model: str, version: str) -> None:
    with pytest.raises(ServingError, match=f"what answers at http://{address} is no Triton server"):
        server_version(address)
    with (
        ControlClient(address) as client,
        pytest.raises(NoAnswer, match=f"what answers at http://{address} is no Triton server"),
    ):
        (client.config if version == "9" else client.statistics)(model, version)


@pytest.mark.parametrize("nowhere", ["127.0.0.1:9", "no.such.host.invalid:8000", "127.0.0.1:port"])
def test_no_server_names_the_command_that_starts_one(nowhere: str) -> None:
    with pytest.raises(ServingError, match=rf"http://{nowhere}.*conch serve|{nowhere}: expected host:port"):
        model_states(nowhere)
