"""A stream of requests: in order, with few of them under way, and ended at once."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from clients import ClientError, DeadlineExceeded, Refused, UnknownModel, WrongTensor, connect, connect_async
from tests.support.client_kinds import KINDS
from tests.support.kserve_servers import Double, serving_double
from tests.support.loads import ROOT

Served = tuple[str, Double]


@pytest.fixture(params=["http", "grpc"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving_double(request.param) as (port, model):
        yield f"{request.param}://127.0.0.1:{port}", model


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def x_of(number: float, items: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.full((items, 4), number, np.float32)}


def mapped(kind: str, url: str, items: Any, seen: Callable[[Any], Any] = lambda client: None, **options: Any) -> Any:
    """The numbers that came back, halved, and the error that ended them; `seen` is called after each, and says how
    long the caller then takes."""
    answers: list[float] = []
    timeout = options.pop("connected_timeout", 30)

    async def asynchronous() -> None:
        async with (
            connect_async(url, timeout=timeout) as client,
            contextlib.aclosing(client.map("double", items, **options)) as mapping,
        ):
            async for answer in mapping:
                answers.append(answer["doubled"].ravel()[0] / 2)
                await asyncio.sleep(seen(client) or 0)

    try:
        if kind == "asyncio":
            asyncio.run(asynchronous())
        else:
            with connect(url, timeout=timeout) as client:
                for answer in client.map("double", items, **options):
                    answers.append(answer["doubled"].ravel()[0] / 2)
                    time.sleep(seen(client) or 0)
    except Exception as error:
        return answers, error
    return answers, None


@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_answers_come_in_order_and_few_items_are_taken_ahead(served: Served, kind: str, concurrency: int) -> None:
    taken, ahead, answered = 0, [], 0

    def items() -> Iterator[dict[str, np.ndarray]]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield x_of(number, 1 + number % 9)  # some are of more items than the server takes

    def seen(client: Any) -> None:
        nonlocal answered
        answered += 1
        ahead.append(taken - answered)

    answers, error = mapped(kind, served[0], items(), seen, concurrency=concurrency)
    assert error is None
    assert answers == list(range(50))
    assert max(ahead) <= concurrency


def test_requests_are_under_way_together(served: Served, kind: str) -> None:
    url, model = served
    model.seconds = 0.1
    begun = time.monotonic()
    answers, error = mapped(kind, url, map(x_of, range(20)), concurrency=10)
    assert (len(answers), error) == (20, None)
    assert time.monotonic() - begun < 1.5  # one after the other they take 2 s


def test_an_error_is_raised_at_its_place(served: Served, kind: str) -> None:
    url, _ = served
    wrong = {"x": np.zeros((1, 5), np.float32)}

    def unreadable() -> Iterator[dict[str, np.ndarray]]:
        yield from map(x_of, range(4))
        raise FileNotFoundError("gone.png")

    cases: list[tuple[Any, type[Exception], str, int]] = [
        ([x_of(0), x_of(1), x_of(2), wrong, x_of(4)], WrongTensor, "allowed is FP32", 3),
        (unreadable(), FileNotFoundError, "gone.png", 4),
        ([None], WrongTensor, "arrays by name", 0),
    ]
    for items, expected, words, place in cases:
        answers, error = mapped(kind, url, items)
        assert answers == list(range(place))
        assert isinstance(error, expected)
        assert words in str(error)
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"concurrency": 0}, ClientError, "allowed are 1, 2"),
        ({"outputs": "y"}, WrongTensor, "no output 'y'"),
    ]
    for options, expected, words in refused:
        assert isinstance(error := mapped(kind, url, [x_of(0)], **options)[1], expected)
        assert words in str(error)


def test_an_unknown_model_and_a_refusal_are_told(served: Served) -> None:
    url, model = served
    with connect(url) as client:
        with pytest.raises(UnknownModel):
            next(client.map("other", []))
        model.full = 10**6
        with pytest.raises(Refused):
            list(client.map("double", [x_of(1)], timeout=1))


def test_what_had_no_room_is_sent_again_in_its_place(served: Served, kind: str) -> None:
    url, model = served
    model.full = 3
    counts: list[int] = []
    answers, error = mapped(
        kind, url, map(x_of, range(30)), lambda client: counts.append(client.statistics.retries), concurrency=4
    )
    assert (answers, error) == (list(range(30)), None)
    assert counts[-1] == 3
    assert model.runs == 30


def test_time_of_the_caller_is_no_part_of_a_call(served: Served, kind: str) -> None:
    """A caller who is slower than the timeout gets all answers; a server that is, gets an error."""
    url, model = served
    slow, longest = [0.8], []

    def seen(client: Any) -> float:
        longest.append(client.statistics.slowest)
        return slow.pop() if slow else 0

    answers, error = mapped(kind, url, map(x_of, range(12)), seen, concurrency=6, connected_timeout=0.6)
    assert (len(answers), error) == (12, None)
    assert max(longest) < 0.8
    model.seconds = 1.5
    _, error = mapped(kind, url, map(x_of, range(12)), concurrency=6, connected_timeout=0.6)
    assert isinstance(error, DeadlineExceeded)


def test_a_generator_that_is_closed_ends_what_is_under_way(served: Served, kind: str) -> None:
    url, model = served

    async def asynchronous() -> None:
        async with connect_async(url) as client:
            async with contextlib.aclosing(client.map("double", map(x_of, range(10**6)), concurrency=4)) as answers:
                async for _ in answers:
                    model.seconds = 2
                    break
            begun = time.monotonic()
            model.seconds = 0
            assert (await client.infer("double", x_of(7)))["doubled"][0, 0] == 14
            assert time.monotonic() - begun < 1.5

    if kind == "asyncio":
        asyncio.run(asynchronous())
    else:
        with connect(url) as client:
            for _ in client.map("double", map(x_of, range(10**6)), concurrency=4):
                model.seconds = 2
                break
            gc.collect()
            begun = time.monotonic()
            model.seconds = 0
            assert client.infer("double", x_of(7))["doubled"][0, 0] == 14
            assert time.monotonic() - begun < 1.5
    assert model.runs < 20


def test_answers_come_while_an_asynchronous_source_waits(served: Served) -> None:
    async def items() -> AsyncIterator[dict[str, np.ndarray]]:
        yield x_of(1)
        await asyncio.sleep(20)

    async def main() -> None:
        async with (
            connect_async(served[0]) as client,
            contextlib.aclosing(client.map("double", items())) as answers,
        ):
            assert (await anext(answers))["doubled"][0, 0] == 2

    begun = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begun < 10


FORKED = """
import os, sys, numpy as np
from clients import ClientError, connect
items = ({"x": np.full((1, 4), number, np.float32)} for number in range(40))
with connect(sys.argv[1]) as client:
    answers = client.map("double", items, concurrency=4)
    for number, answer in enumerate(answers):
        assert answer["doubled"][0, 0] == 2 * number, (answer, number)
        if number % 10 == 3:
            if (child := os.fork()) == 0:
                try:
                    x = {"x": np.full((1, 4), 99, np.float32)}
                    assert client.infer("double", x)["doubled"][0, 0] == 198
                    list(answers)
                except ClientError as error:
                    os._exit(0 if "begin another after a fork" in str(error) else 2)
                os._exit(3)
            assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_in_the_midst_leaves_both_right(served: Served) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORKED, served[0]], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr


def test_ctrl_c_ends_it_at_once(served: Served) -> None:
    url, model = served
    program = (
        "import sys, time, numpy as np\nfrom clients import connect\n"
        "with connect(sys.argv[1]) as client:\n"
        "    try:\n"
        "        for _ in client.map('double', iter(lambda: {'x': np.ones((1, 4), np.float32)}, None)):\n"
        "            print('.', flush=True)\n"
        "    except KeyboardInterrupt:\n"
        "        print(client.statistics.calls)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, url], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        model.seconds = 5
        threading.Event().wait(0.3)
        begun = time.monotonic()
        process.send_signal(2)
        said = process.stdout.read()
        assert process.wait(10) == 0
    assert time.monotonic() - begun < 3
    assert int(said.split()[-1]) > 1


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals")
def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [x_of(number) for number in range(30)]
    with connect(served[0]) as client:
        assert len(list(client.map("double", items, progress=True))) == 30
        assert capsys.readouterr().err == ""
        primary, secondary = os.openpty()
        with os.fdopen(secondary, "w") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            monkeypatch.setenv("TERM", "xterm")
            assert len(list(client.map("double", items, progress=True))) == 30
        shown = os.read(primary, 1 << 16).decode()
        os.close(primary)
    assert "double" in shown
    assert "/30" in shown
