"""An ensemble that takes text, on a real Triton: what it answers and refuses, and how its versions come and go."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from clients import connect
from clients.errors import ClientError
from serving.server.running import Running
from tests.support.releases import run, served
from tests.support.text_ensembles import PARTS, answer, publish_text

NAME, TEXT = "worth", "good food"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifacts folder with version 1 of the ensemble."""
    folder = tmp_path_factory.mktemp("ensembles") / "artifacts"
    publish_text(folder / "models", NAME)
    return folder


@pytest.fixture(scope="module")
def server(artifacts: Path) -> Iterator[Running]:
    with served(artifacts) as found:
        yield found


def asked(server: Running, *texts: str | bytes) -> list[list[float]]:
    with connect(server.http) as client:
        found: list[list[float]] = client.infer(NAME, {"text": np.array(texts, object)[:, None]})["answers"].tolist()
        return found


def test_texts_of_several_lengths_are_answered_and_what_is_none_is_refused(server: Running) -> None:
    texts = [TEXT, "BAD", "so good", "food " * 9]
    assert asked(server, *texts) == [answer(text) for text in texts]
    for refused, reason in ((b"b\xffd", "text 1 is not UTF-8: its byte 1 is 0xff"), (" ", "text 1 has no tokens")):
        with pytest.raises(ClientError, match=reason):
            asked(server, TEXT, refused)


class Caller:
    """Asks one text again and again, until the block ends."""

    def __init__(self, server: Running) -> None:
        self.answers: Counter[float] = Counter()
        self.failures: list[str] = []
        self._server, self._stop = server, threading.Event()
        self._thread = threading.Thread(target=self._call)

    def _call(self) -> None:
        with connect(f"grpc://{self._server.grpc}") as client:
            while not self._stop.wait(0.01):
                try:
                    found = client.infer(NAME, {"text": np.array([[TEXT]], object)})["answers"]
                    self.answers[found.item(0)] += 1
                except Exception as error:  # whatever it is, nobody was to get it
                    self.failures.append(str(error))

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_versions_go_live_and_back_with_their_parts_under_requests(server: Running, artifacts: Path) -> None:
    """Over a version that lies between, whose parts nobody asks for."""
    for factor in (2, 3):
        publish_text(artifacts / "models", NAME, factor)
    expected = {factor: answer(TEXT, factor) for factor in (1, 3)}
    with Caller(server) as caller:
        code, output, errors = run("rollout", NAME, artifacts=artifacts)
        assert (code, errors) == (0, "")
        assert "version 3 is live instead of 1" in output
        assert asked(server, TEXT) == [expected[3]]
        assert run("rollback", NAME, artifacts=artifacts)[0] == 0
        assert asked(server, TEXT) == [expected[1]]
        code, _, errors = run("rollout", PARTS[0].format(NAME), artifacts=artifacts)
        assert (code, "goes with it: conch rollout worth" in errors) == (1, True)
    assert caller.failures == []
    assert set(caller.answers) == {expected[1][0], expected[3][0]}, "no text met another version's model"


def tokenizers(server: Running) -> set[psutil.Process]:
    """The living processes of the tokenizer."""
    family, part = psutil.Process(server.pid).children(recursive=True), PARTS[0].format(NAME)
    found = set()
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            stub = "stub" in process.name() and process.status() != psutil.STATUS_ZOMBIE
            if stub and any(word.startswith(f"{part}_0_") for word in process.cmdline()):
                found.add(process)
    return found


def test_a_tokenizer_that_died_is_loaded_anew(server: Running) -> None:
    deadline = time.monotonic() + 60
    while len(before := tokenizers(server)) != 2:  # those of the version before are still ending
        assert time.monotonic() < deadline
        time.sleep(0.1)
    next(iter(before)).kill()
    while len(now := tokenizers(server)) != 2 or now & before:
        assert time.monotonic() < deadline, "its part of the requests fails for ever"
        time.sleep(0.1)
    assert [asked(server, TEXT) for _ in range(20)] == [[answer(TEXT)]] * 20
