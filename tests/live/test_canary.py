"""Versions before clients that take part: promoted or taken back by what those saw, and no call of theirs fails."""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clients import connect, connect_async
from conch.contracts.live import live_version, read_history
from serving.server.model_views import CANDIDATE, NOTICE
from serving.server.running import Running
from tests.support.releases import PICKED, TIMES, put, put_stream, run, served

ONES = {"x": np.ones((1, 2), np.float32)}
"""The golden input."""
TWOS = {"x": np.full((1, 2), 2, np.float32)}
"""What the clients send."""
# Ten times its input, as version 1; but each number is looked up in a table that has no entry for 2.
FAILS = """
times (float[batch, 2] x) => (float[batch, 2] y) <float[2] table = {0, 10}>
{ index = Cast<to = 7>(x)
  y = Gather(table, index) }
"""
# Ten times its input, after two products of large matrices.
SLOW = """
times (float[batch, 2] x) => (float[batch, 2] y) <float ten = {10}, float none = {0}, int64[2] shape = {600, 600}>
{ sum = ReduceSum<keepdims = 0>(x)
  large = Expand(sum, shape)
  square = MatMul(large, large)
  product = MatMul(square, large)
  one = ReduceMax<keepdims = 0>(product)
  nothing = Mul(one, none)
  tens = Mul(x, ten)
  y = Add(tens, nothing) }
"""


class Clients:
    """Of the library, blocking over HTTP and asyncio over gRPC, that take part until the block ends."""

    def __init__(self, server: Running) -> None:
        self.answers: Counter[float] = Counter()
        self.failures: list[str] = []
        self._server, self._stop = server, threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(2)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._call_async())))

    def _call(self) -> None:
        with connect(self._server.http, rollouts=True) as client:
            while not self._stop.wait(0.005):
                try:
                    self.answers[float(client.infer(TIMES, TWOS)["y"][0, 0])] += 1
                except Exception as error:  # whatever it is, nobody was to get it
                    self.failures.append(str(error))

    async def _call_async(self) -> None:
        async with connect_async(f"grpc://{self._server.grpc}", rollouts=True) as client:
            while not self._stop.is_set():
                await asyncio.sleep(0.005)
                try:
                    self.answers[float((await client.infer(TIMES, TWOS))["y"][0, 0])] += 1
                except Exception as error:
                    self.failures.append(str(error))

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def version_1_served(folder: Path) -> Iterator[tuple[Running, Path]]:
    """The server, and the model's folder."""
    artifacts = folder / "artifacts"
    (artifacts / "models").mkdir(parents=True)
    put(artifacts / "models", 1)
    put_stream(artifacts / "models", ten=10)
    with served(artifacts) as server:
        yield server, artifacts / "models" / TIMES


# Long, for another process on its cores can make a candidate slow enough to be taken back, as it should be.
@pytest.mark.long
def test_a_canary_that_fails_is_taken_back_and_one_that_does_not_goes_live(tmp_path: Path) -> None:
    with version_1_served(tmp_path) as (server, model):
        artifacts = model.parents[1]
        put(model.parent, 2, FAILS)
        with Clients(server) as clients:
            code, _, errors = run("rollout", TIMES, "--canary", "20%", "--within", "90", artifacts=artifacts)
            assert (code, live_version(model)) == (1, 1)
            assert "canary: more requests fail (p = " in errors
            assert len(errors.splitlines()) == 1
            put(model.parent, 3)
            code, _, errors = run("rollout", TIMES, "--canary", "20%", "--within", "90", artifacts=artifacts)
            assert (code, live_version(model)) == (0, 3), errors
        assert clients.failures == [], "what the candidate refused the live version answered"
        assert set(clients.answers) == {20, 60}
        assert not list(Path(server.models).glob(f"*{CANDIDATE}")) + list(Path(server.models).glob(f"*{NOTICE}"))
        first, second = read_history(model)
        assert (first.how, first.tried, first.version) == ("taken back", 2, 1)
        (figures,) = first.proof["trials"]
        assert figures["candidate"]["failed"] == figures["candidate"]["requests"] > 0
        (figures,) = second.proof["trials"]
        assert (figures["candidate"]["failed"], figures["live"]["failed"]) == (0, 0)
        assert figures["golden"] > 0
        said = run("history", TIMES, artifacts=artifacts)[1]
        assert "taken back" in " ".join(said.split())
        assert json.loads(run("rollback", TIMES, "--json", artifacts=artifacts)[1])["version"] == 1, "not to 2"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_is_slower_or_answers_otherwise_is_taken_back_and_copies_keep_nobody_waiting(tmp_path: Path) -> None:
    with version_1_served(tmp_path) as (server, model):
        artifacts = model.parents[1]
        code, _, errors = run("rollout", TIMES, "--canary", "60%", artifacts=artifacts)
        assert (code, errors.strip()) == (1, "error: a share is a number with %, above 0% and at most 50%, got '60%'")
        put(model.parent, 2, SLOW)
        code, _, errors = run("rollout", TIMES, "--canary", "10%", "--within", "3", artifacts=artifacts)
        assert (code, "no client takes part" in errors) == (1, True)
        with Clients(server) as clients:
            for words, reason in (
                (("--canary", "10%"), "it is more than 1.2 times as slow"),
                (("--shadow", "50%"), "it is more than 1.2 times as slow"),
            ):
                code, _, errors = run("rollout", TIMES, *words, "--within", "90", artifacts=artifacts)
                assert (code, reason in errors, live_version(model)) == (1, True, 1), errors
            put(model.parent, 3)
            code, _, errors = run("rollout", TIMES, "--shadow", "50%", "--within", "90", artifacts=artifacts)
            assert (code, "too many answers differ" in errors, live_version(model)) == (1, True, 1), errors
            assert set(clients.answers) == {20}, "answers to copies are thrown away"
            both = ("--shadow", "50%", "--may-differ", "100%", "--canary", "50%")
            code, _, errors = run("rollout", TIMES, *both, "--within", "90", artifacts=artifacts)
            assert (code, live_version(model)) == (0, 3), errors
        assert clients.failures == []
        assert [figures["kind"] for figures in read_history(model)[-1].proof["trials"]] == ["shadow", "canary"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_sequences_end_on_the_side_where_they_began(tmp_path: Path) -> None:
    with version_1_served(tmp_path) as (server, model):
        artifacts, picked = model.parents[1], model.parent / PICKED
        put_stream(model.parent, ten=20)
        code, _, errors = run("rollout", PICKED, "--shadow", "10%", artifacts=artifacts)
        assert (code, "keeps states" in errors) == (1, True)
        totals: Counter[tuple[float, ...]] = Counter()
        failures: list[str] = []
        stop = threading.Event()

        def follow() -> None:
            with connect(server.http, rollouts=True) as client:
                while not stop.wait(0.01):
                    try:
                        with client.sequence(PICKED) as sequence:
                            picks = (
                                sequence.infer({"index": [1]}, last=last)["total"] for last in (False, False, True)
                            )
                            totals[tuple(float(total) for (total,) in picks)] += 1
                    except Exception as error:
                        failures.append(str(error))

        threads = [threading.Thread(target=follow) for _ in range(3)]
        for thread in threads:
            thread.start()
        code, _, errors = run("rollout", PICKED, "--canary", "50%", "--within", "90", artifacts=artifacts)
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
        assert (code, live_version(picked)) == (0, 2), errors
        assert failures == []
        assert set(totals) == {(10, 20, 30), (20, 40, 60)}
