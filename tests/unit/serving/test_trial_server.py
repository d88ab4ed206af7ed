"""The search's own server: what it does not load is told as a failed candidate, with the server's reason."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.errors import ServingError
from serving.repository.configuration import parse
from serving.tune.candidates import Candidate
from serving.tune.load import LoadFailed
from serving.tune.trial_server import TrialServer
from tests.support.http_servers import Answering, answering

CONFIG = 'name: "m"\nbackend: "onnxruntime"\nmax_batch_size: 4\ninstance_group { count: 1 kind: KIND_CPU }\n'


class Refusing(Answering):
    """Unloads what it is told to, and loads nothing."""

    asked: list[str]

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.answer(b'{"error": "no\\n memory"}', 200 if self.path.endswith("unload") else 400)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    for model in ("m", "m_int8"):
        (tmp_path / "models" / model).mkdir(parents=True)
        (tmp_path / "models" / model / "config.pbtxt").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of a server that loads nothing."""
    Refusing.asked = []
    with answering(Refusing) as port:
        yield port


def running(port: int, check_alive: Any = lambda: None) -> Any:
    """What `TrialServer` uses of a server."""
    addresses = dict.fromkeys(("http", "grpc", "metrics"), f"127.0.0.1:{port}")
    return SimpleNamespace(**addresses, check_alive=check_alive)


def candidate() -> Candidate:
    return Candidate.of(parse(CONFIG))


def test_a_candidate_that_is_refused_says_why_and_the_others_are_unloaded(refusing: int, artifacts: Path) -> None:
    server = TrialServer(running(refusing), artifacts)
    with pytest.raises(LoadFailed, match=r"model 'm' did not load: no memory$"):
        server.measure(candidate(), users=1, seconds=1)
    assert Refusing.asked == ["/v2/repository/models/m_int8/unload", "/v2/repository/models/m/load"]


def test_a_server_that_has_ended_is_no_failed_candidate(artifacts: Path) -> None:
    calls = iter((None, ServingError("tritonserver ended by itself")))

    def check_alive() -> None:
        if error := next(calls):
            raise error

    with pytest.raises(ServingError, match="ended by itself"):
        TrialServer(running(9, check_alive), artifacts).measure(candidate(), users=1, seconds=1)
