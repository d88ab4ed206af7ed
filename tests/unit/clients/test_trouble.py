"""Whatever a peer does, a call ends in time, with the right answer or an error that says what happened; and nothing is
run twice that must not be."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from clients import (
    ClientError,
    DeadlineExceeded,
    Overloaded,
    Statistics,
    Unreachable,
    WrongKind,
    WrongTensor,
    connect,
    connect_async,
)
from tests.support.client_kinds import KINDS, called
from tests.support.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.kserve_servers import Double, serving_double

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def infer(client: Any) -> Any:
    return client.infer("double", {"x": X})


def metadata(client: Any) -> Any:
    return client.metadata("double")


def server(client: Any) -> Any:
    return client.server()


def given_up(kind: str, call: Callable, *arguments: Any, **options: Any) -> Any:
    """Seconds until a call is over for lack of time; of an asyncio client a coroutine of them."""
    begun = time.monotonic()
    if kind == "blocking":
        with pytest.raises(DeadlineExceeded):
            call(*arguments, **options)
        return time.monotonic() - begun

    async def wait() -> float:
        with pytest.raises(DeadlineExceeded):
            await call(*arguments, **options)
        return time.monotonic() - begun

    return wait()


@pytest.fixture(params=["http", "grpc"])
def peer(request: pytest.FixtureRequest) -> Iterator[tuple[str, FaultyProxy, Double]]:
    with serving_double(request.param) as (port, model), faulty_proxy(port) as proxy:
        yield f"{request.param}://127.0.0.1:{proxy.port}", proxy, model


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Peer = tuple[str, FaultyProxy, Double]


def test_without_trouble_there_is_an_answer(peer: Peer, kind: str) -> None:
    answer = called(kind, peer[0], infer)[-1]
    np.testing.assert_array_equal(answer["doubled"], 2 * X)


@pytest.mark.parametrize("work", [infer, metadata])
@pytest.mark.parametrize("fault", ["silence", "drip", "deaf"])
def test_a_slow_peer_is_given_up_at_the_deadline(peer: Peer, kind: str, fault: Fault, work: Callable) -> None:
    """Neither silence nor a byte now and then makes a call longer; nor is one sent again whose fate is not known."""
    url, proxy, model = peer
    if work is infer:  # the connection is there, and the model known

        def then(client: Any) -> None:
            proxy.fault = fault

        works = [infer, then, infer]
    else:
        proxy.fault = fault
        works = [work]
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"no answer from .* within 0\.4 s"):
        called(kind, url, *works, timeout=0.4, repeatable=True)
    assert time.monotonic() - begun < 3
    assert model.runs <= 2


def test_a_peer_that_reads_nothing_is_given_up_in_the_middle_of_sending(peer: Peer, kind: str) -> None:
    url, proxy, model = peer
    model.tensors["inputs"] = [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]

    def deaf(client: Any) -> None:
        proxy.fault = "deaf"

    def hear(client: Any) -> None:
        proxy.fault = "none"

    def large(client: Any) -> Any:
        return given_up(kind, client.infer, "double", {"x": np.zeros((4, 4 << 20), np.float32)}, timeout=1.0)

    took = called(kind, url, metadata, deaf, large, hear)[2]
    assert 0.9 < took < 4
    assert model.runs == 0


@pytest.mark.parametrize("fault", ["half", "reset", "close", "garbage"])
def test_a_broken_answer_is_an_error_and_nothing_is_run_twice(peer: Peer, kind: str, fault: Fault) -> None:
    url, proxy, model = peer

    def breaking(client: Any) -> None:
        proxy.fault = fault

    with pytest.raises(Unreachable) as told:
        called(kind, url, infer, breaking, infer, timeout=5)
    assert "broke" in str(told.value) or "does not speak" in str(told.value)
    assert not isinstance(told.value, DeadlineExceeded)
    assert model.runs == 2


@pytest.mark.parametrize("fault", ["half", "reset", "close"])
def test_what_is_repeatable_survives_a_broken_connection(peer: Peer, kind: str, fault: Fault) -> None:
    url, proxy, model = peer
    seen: list[Statistics] = []

    def breaking(client: Any) -> None:
        proxy.fault = fault
        threading.Timer(0.3, setattr, (proxy, "fault", "none")).start()

    def again(client: Any) -> Any:
        return client.infer("double", {"x": 2 * X}, repeatable=True)

    def note(client: Any) -> None:
        seen.append(client.statistics)

    answer = called(kind, url, infer, breaking, again, note, timeout=20, attempts=50)[2]
    np.testing.assert_array_equal(answer["doubled"], 4 * X)
    assert model.runs >= 2
    assert (seen[0].calls, seen[0].failed) == (2, 0)
    assert seen[0].retries >= 1


def test_a_server_that_is_away_for_a_moment_is_waited_for(peer: Peer, kind: str) -> None:
    """Refused connections were never a request: they are sent again without having been declared repeatable."""
    url, proxy, model = peer

    def away(client: Any) -> Any:
        proxy.stop_listening()
        threading.Timer(0.5, proxy.listen_again).start()
        return asyncio.sleep(0.1) if kind == "asyncio" else time.sleep(0.1)

    answer = called(kind, url, infer, away, infer, timeout=20, attempts=50)[-1]
    np.testing.assert_array_equal(answer["doubled"], 2 * X)
    assert model.runs == 2


def test_nobody_there_is_told_at_once(kind: str) -> None:
    for protocol in ("http", "grpc"):
        begun = time.monotonic()
        with pytest.raises(Unreachable, match=rf"no server at {protocol}://127\.0\.0\.1:1 \(.*refused.*\)"):
            called(kind, f"{protocol}://127.0.0.1:1", server, timeout=20)
        assert time.monotonic() - begun < 5


def test_a_full_queue_is_tried_again_and_then_told(peer: Peer, kind: str) -> None:
    url, _, model = peer
    model.full = 2
    np.testing.assert_array_equal(called(kind, url, infer)[-1]["doubled"], 2 * X)
    assert model.runs == 1
    model.full = 10**6
    with pytest.raises(Overloaded, match=r"has no room for the request now: .*maximum queue size"):
        called(kind, url, infer)
    assert model.runs == 1
    assert model.full == 10**6 - 4


def test_after_trouble_the_client_goes_on(peer: Peer, kind: str) -> None:
    """A connection that was left in the middle of an answer is not used again."""
    url, _, model = peer

    def late(client: Any) -> None:
        model.seconds = 0.5

    def soon(client: Any) -> None:
        model.seconds = 0

    def impatient(client: Any) -> Any:
        return given_up(kind, client.infer, "double", {"x": X}, timeout=0.2)

    other = X + 100
    answer = called(kind, url, infer, late, impatient, soon, lambda client: client.infer("double", {"x": other}))[-1]
    np.testing.assert_array_equal(answer["doubled"], 2 * other)


def test_a_batch_above_the_largest_is_sent_in_parts_at_once(peer: Peer, kind: str) -> None:
    url, _, model = peer
    model.seconds = 0.2
    many = np.arange(4 * 30, dtype=np.float32).reshape(30, 4)
    begun = time.monotonic()
    answer = called(kind, url, lambda client: client.infer("double", {"x": many}))[-1]
    np.testing.assert_array_equal(answer["doubled"], 2 * many)
    assert model.runs == 8
    assert time.monotonic() - begun < 8 * 0.2


def test_a_cancelled_task_ends_its_call_and_the_server_is_told(peer: Peer) -> None:
    url, _, model = peer

    async def main() -> float:
        async with connect_async(url) as client:
            await infer(client)
            model.seconds = 1.0
            task = asyncio.create_task(infer(client))
            await asyncio.sleep(0.3)
            begun = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            took = time.monotonic() - begun
            model.seconds = 0
            np.testing.assert_array_equal((await client.infer("double", {"x": -X}))["doubled"], -2 * X)
            return took

    assert asyncio.run(main()) < 0.5
    if url.startswith("grpc"):
        time.sleep(1)
        assert model.cancelled == 1


def test_a_cancelled_task_ends_its_sequence(peer: Peer) -> None:
    url, _, model = peer
    model.config["sequence_batching"] = {}

    async def main() -> None:
        async with connect_async(url) as client:
            with pytest.raises(WrongTensor, match="one item"):
                async with client.sequence("double") as sequence:
                    await sequence.infer({"x": X})
            async with client.sequence("double") as sequence:
                await sequence.infer({"x": X[0]})
                await sequence.infer({"x": X[:1]}, last=True)
            assert model.sequences == [(True, False), (False, True)]
            model.sequences.clear()

            async def left() -> None:
                async with client.sequence("double") as sequence:
                    await sequence.infer({"x": X[0]})
                    await asyncio.sleep(60)

            task = asyncio.create_task(left())
            while not model.sequences:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert model.sequences == [(True, False), (False, True)]
            with pytest.raises(WrongKind, match="call it through"):
                await client.infer("double", {"x": X[0]})

    asyncio.run(main())


@pytest.mark.parametrize("items", [1, 12])
def test_ctrl_c_ends_a_call_at_once_and_the_server_is_told(peer: Peer, items: int) -> None:
    url, _, model = peer
    x = np.ones((items, 4), np.float32)
    with connect(url) as client:
        client.infer("double", {"x": x})
        model.seconds = 1.0
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.infer("double", {"x": x})
        assert time.monotonic() - begun < 0.9
        if url.startswith("grpc"):
            time.sleep(1.1)
            assert model.cancelled == -(-items // 4)
        model.seconds = 0
        np.testing.assert_array_equal(client.infer("double", {"x": -X})["doubled"], -2 * X)


def test_a_closed_client_says_so(peer: Peer, kind: str) -> None:
    url, _, model = peer
    with pytest.raises(ClientError, match="this client is closed; make another with connect"):
        called(kind, url, infer, lambda client: client.close(), infer)
    assert model.runs == 1


def test_headers_go_with_every_request(peer: Peer, kind: str) -> None:
    url, _, model = peer
    called(kind, url, infer, headers={"X-Team": "shells"})
    assert model.headers["x-team"] == "shells"
