"""Versions of a model come and go on a real Triton under requests, and nobody gets a wrong answer or none."""

import contextlib
import json
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from clients import Refused, Sequence, connect
from conch.contracts.golden import FILE
from conch.contracts.live import Decision, decide, live_version, read_history
from serving.server.model_views import CANDIDATE
from serving.server.running import Running
from tests.support.releases import PICKED, TIMES, put, put_stream, run, served, start


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifacts folder with version 1 of `times`, and of the stream `picked`."""
    folder = tmp_path_factory.mktemp("rollout") / "artifacts"
    (folder / "models").mkdir(parents=True)
    put(folder / "models", 1)
    put_stream(folder / "models", ten=10)
    return folder


@pytest.fixture(scope="module")
def server(artifacts: Path) -> Iterator[Running]:
    with served(artifacts) as found:
        yield found


def connection(server: Running, protocol: str) -> Any:
    """A client of tritonclient, for the thread that makes it."""
    if protocol == "http":
        return tritonclient.http.InferenceServerClient(server.http)
    return tritonclient.grpc.InferenceServerClient(server.grpc)


def ask_with(client: Any, protocol: str, version: str = "") -> tuple[str, float]:
    """The version that answers, and by what it multiplies."""
    api = tritonclient.http if protocol == "http" else tritonclient.grpc
    tensor = api.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
    answer = client.infer(TIMES, [tensor], version)
    response = answer.get_response()
    got = response["model_version"] if protocol == "http" else response.model_version
    return str(got), float(answer.as_numpy("y")[0, 0])


def ask(server: Running, protocol: str, version: str = "") -> tuple[str, float]:
    """The same on a connection of its own."""
    with connection(server, protocol) as client:
        return ask_with(client, protocol, version)


class Callers:
    """Requests over both protocols, one after the other on a connection each, until the block ends."""

    def __init__(self, server: Running, seconds_between: float = 0.02) -> None:
        self.answers: Counter[tuple[str, float]] = Counter()
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._server, self._between, self._stop = server, seconds_between, threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(protocol,)) for protocol in ("http", "grpc")]

    def _call(self, protocol: str) -> None:
        with connection(self._server, protocol) as client:
            while not self._stop.wait(self._between):
                began = time.perf_counter()
                try:
                    self.answers[ask_with(client, protocol)] += 1
                except Exception as error:  # whatever it is, nobody was to get it
                    self.failures.append(f"{protocol}: {error}")
                self.seconds.append(time.perf_counter() - began)

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Stream:
    """A sequence of the model `picked` that names the version it began with."""

    def __init__(self, client: tritonclient.grpc.InferenceServerClient, id: int, version: str) -> None:
        self._client, self._id, self._version = client, id, version

    def pick(self, index: int, *, first: bool = False, last: bool = False) -> float:
        tensor = tritonclient.grpc.InferInput("index", [1, 1], "INT64")
        tensor.set_data_from_numpy(np.array([[index]]))
        answer = self._client.infer(
            PICKED, [tensor], self._version, sequence_id=self._id, sequence_start=first, sequence_end=last
        )
        return float(answer.as_numpy("total").item())


@contextlib.contextmanager
def stream_of(url: str) -> Iterator[Sequence]:
    """A sequence of the client library, which goes on with the version that it began with."""
    with connect(url) as client, client.sequence(PICKED) as sequence:
        yield sequence


def test_a_version_goes_live_and_back_under_requests(server: Running, artifacts: Path) -> None:
    assert ask(server, "http") == ("1", 10)
    put(artifacts / "models", 2)
    put_stream(artifacts / "models", ten=20)
    with Callers(server) as callers, tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        code, output, errors = run("rollout", TIMES, "--why", "trained anew", artifacts=artifacts)
        assert (code, errors) == (0, "")
        assert "version 2 is live instead of 1" in output
        assert "golden answers right" in output
        assert {ask(server, protocol) for protocol in ("http", "grpc")} == {("2", 20)}
        assert ask(server, "grpc", "1") == ("1", 10), "the version before stays loaded"
        stream = Stream(client, 7, "1")
        assert stream.pick(1, first=True) == 10
        with connect(server.http) as library, library.sequence(PICKED) as unnumbered:
            assert unnumbered.infer({"index": [1]})["total"] == 10
            assert run("rollout", PICKED, artifacts=artifacts)[0] == 0
            assert unnumbered.infer({"index": [1]})["total"] == 20, "the library's stays there without a number"
        assert stream.pick(1) == 20, "a sequence goes on with the version that it began with"
        assert Stream(client, 8, "").pick(1, first=True, last=True) == 20
        with contextlib.ExitStack() as stack:
            newer = [stack.enter_context(stream_of(url)) for url in (server.http, f"grpc://{server.grpc}")]
            assert [stream.infer({"index": [1]})["total"].item() for stream in newer] == [20, 20]
            assert run("rollback", PICKED, artifacts=artifacts)[0] == 0
            for one in newer:
                with pytest.raises(
                    Refused, match="picked has no version '2' that is ready; it has: 1; a sequence that"
                ):
                    one.infer({"index": [1]})
        assert stream.pick(0, last=True) == 21, "one of the version that is live again goes on"
        assert run("rollback", TIMES, "--why", "it was wrong", artifacts=artifacts)[0] == 0
        assert ask(server, "http") == ("1", 10)
        assert "version 1 is live already" in run("rollback", TIMES, "--version", "1", artifacts=artifacts)[1]
        code, _, errors = run("rollback", TIMES, "--version", "9", artifacts=artifacts)
        assert (code, "it has: 1, 2" in errors) == (1, True)
    assert not callers.failures
    assert set(callers.answers) == {("1", 10), ("2", 20)}
    history = read_history(artifacts / "models" / TIMES)
    assert [(entry.how, entry.version, entry.before, entry.why) for entry in history] == [
        ("rollout", 2, 1, "trained anew"), ("rollback", 1, 2, "it was wrong")
    ]  # fmt: skip
    assert history[0].proof["load"]["failures"] == 0
    code, output, _ = run("history", TIMES, "--json", artifacts=artifacts)
    assert json.loads(output)["live"] == 1
    assert "version 1 is live; 2 is published: conch rollout times" in run("history", TIMES, artifacts=artifacts)[1]


def wrong_golden(artifacts: Path) -> None:
    """The answers of another file: as where what was published is not what was proven."""
    file = artifacts / "models" / TIMES / "2" / FILE
    with np.load(file) as arrays:
        changed = {key: array + (key == "outputs/y") for key, array in arrays.items()}
    np.savez_compressed(file, **changed)


def harsh_promise(artifacts: Path) -> None:
    (artifacts / "promises.yaml").write_text("times: {rate: 150, p50_ms: 0.01, error_rate: 0}\n")


def no_file(artifacts: Path) -> None:
    (artifacts / "models" / TIMES / "2" / "model.onnx").unlink()


@contextlib.contextmanager
def put_back(folder: Path) -> Iterator[None]:
    """After the block the folder is what it was."""
    kept = folder.parents[3] / "kept"
    shutil.copytree(folder, kept)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (wrong_golden, "golden"),
        (harsh_promise, "BROKEN|INVALID"),  # the machine may be too busy to show it
        (no_file, r"model\.onnx"),
    ],
)
def test_what_is_not_proven_there_never_goes_live(
    server: Running, artifacts: Path, break_it: Callable[[Path], None], reason: str
) -> None:
    before = len(read_history(artifacts / "models" / TIMES))
    with put_back(artifacts / "models" / TIMES / "2"), Callers(server) as callers:
        break_it(artifacts)
        code, _, errors = run("rollout", TIMES, artifacts=artifacts)
    (artifacts / "promises.yaml").unlink(missing_ok=True)
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert re.search(reason, errors), errors
    assert not callers.failures
    assert set(callers.answers) == {("1", 10)}
    assert len(read_history(artifacts / "models" / TIMES)) == before
    assert not list(Path(server.models).glob(f"*{CANDIDATE}*"))


def test_one_of_two_at_once_wins_and_a_killed_one_is_repaired(server: Running, artifacts: Path) -> None:
    candidate = Path(server.models) / f"{TIMES}{CANDIDATE}"
    first = start("rollout", TIMES, artifacts=artifacts)
    while not candidate.exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    code, _, errors = run("rollout", TIMES, artifacts=artifacts)
    assert (code, f"(process {first.pid})" in errors) == (1, True)
    first.kill()
    first.communicate()
    assert ask(server, "http") == ("1", 10)
    assert candidate.exists(), "what a killed one leaves"
    assert run("rollout", TIMES, artifacts=artifacts)[0] == 0
    assert not candidate.exists()
    assert ask(server, "grpc") == ("2", 20)
    # As if it had been killed between the switch and the history.
    history = artifacts / "models" / TIMES / "history.jsonl"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:-1]))
    assert live_version(artifacts / "models" / TIMES) == 1
    assert "version 2 is live already" in run("rollout", TIMES, artifacts=artifacts)[1]
    assert live_version(artifacts / "models" / TIMES) == 2


def test_a_start_serves_the_live_version_under_its_own_configuration(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    (artifacts / "models").mkdir(parents=True)
    for version in (1, 2):
        put(artifacts / "models", version)
    decide(artifacts / "models" / TIMES, Decision(1, 2, "rollback"))
    # A version with other tensors: config.pbtxt is no more that of version 1.
    put(artifacts / "models", 3, "times (float[batch, 3] x) => (float[batch, 3] z) { z = Neg(x) }")
    with served(artifacts) as server:
        assert ask(server, "http") == ("1", 10)
        assert run("rollout", TIMES, artifacts=artifacts)[0] == 0
        with pytest.raises(Exception, match=r"unexpected (inference input|shape)"):
            ask(server, "http")
        assert run("rollback", TIMES, artifacts=artifacts)[0] == 0
        assert ask(server, "http") == ("1", 10)


@pytest.mark.long
def test_twenty_times_there_and_back_nobody_waits_for_an_answer_or_gets_a_wrong_one(tmp_path: Path) -> None:
    """With `-s` it says how late the latest answer was."""
    artifacts = tmp_path / "artifacts"
    (artifacts / "models").mkdir(parents=True)
    put(artifacts / "models", 1)
    put_stream(artifacts / "models", ten=10)
    with served(artifacts) as server, tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        put(artifacts / "models", 2)
        stream = Stream(client, 9, "1")
        total = stream.pick(1, first=True)
        with Callers(server, seconds_between=0.01) as callers:
            time.sleep(5)
            steady = np.percentile(callers.seconds, 99)
            for _ in range(20):
                assert run("rollout", TIMES, artifacts=artifacts)[0] == 0
                assert run("rollback", TIMES, artifacts=artifacts)[0] == 0
                total += 10
                assert stream.pick(1) == total
        latest = max(callers.seconds)
    sys.stdout.write(
        f"{len(callers.seconds)} answers: p99 {steady * 1e3:.1f} ms before, latest {latest * 1e3:.1f} ms\n"
    )
    assert not callers.failures
    assert set(callers.answers) == {("1", 10), ("2", 20)}
