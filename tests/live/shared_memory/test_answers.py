"""Answers are those of a client without, in any number, and no later one overwrites an earlier."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from clients import ClientError, Refused, connect, connect_async
from clients.shared_memory import placing, region
from serving.server.server import Server
from tests.support import graphs
from tests.support.client_kinds import KINDS, called
from tests.support.shared_memory import LARGE, check, files, regions, wide, x_of

LISTS: dict[str, Any] = {"bool": [True, False], "string": ["Käse", b"nul\0"]}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "one item": ("affine", {"x": x_of(3)[0]}),
    "a batch": ("affine", {"x": x_of(3, 5)}),
    "no item": ("affine", {"x": x_of(3, 0)}),
    "more than the server takes": ("affine", {"x": np.arange(4 * 333, dtype=np.float32).reshape(333, 4)}),
    "another byte order": ("affine", {"x": x_of(3, 2).astype(">f4")}),
    "another layout": ("affine", {"x": np.asfortranarray(np.arange(40, dtype=np.float32).reshape(10, 4))[::3, ::-1]}),
    "numbers in lists": ("affine", {"x": [[1, 2, 3, 4]]}),
    "every type": ("identities", {f"in_{kind}": [LISTS.get(kind, [1, 2])] * 3 for kind in graphs.TYPES}),
    "every type, split": ("identities", {f"in_{kind}": [LISTS.get(kind, [1, 2])] * 70 for kind in graphs.TYPES}),
    "an axis of any length": ("lengths", {"tokens": np.arange(14).reshape(2, 7)}),
    "an axis without length": ("lengths", {"tokens": np.zeros((2, 0), int)}),
    "large ones": ("wide", {"x": np.arange(40 * LARGE, dtype=np.float32).reshape(40, LARGE)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_a_client_without(url: str, kind: str) -> None:
    """In turn, with one client: regions are used again by tensors of other sizes and types."""
    works = [lambda client, case=case: client.infer(*case) for case in CASES.values()]
    for name, got, right in zip(
        CASES, called(kind, url, *works, shared_memory=True), called(kind, url, *works), strict=True
    ):
        assert got.keys() == right.keys(), name
        for output in right:
            np.testing.assert_array_equal(got[output], right[output], err_msg=name, strict=True)
            assert not got[output].flags.writeable or got[output].size == 0 or right[output].flags.writeable, name


def test_two_regions_serve_calls_one_after_the_other(url: str, server: Server) -> None:
    with connect(url, shared_memory=True) as client:
        for items in (1, 32, 3000, 2, 5000, 1):
            client.infer("affine", {"x": x_of(1, items)})
        assert regions(server) == files()
        assert len(files()) == 2
        assert all(region.abandoned(name) is False for name in files())


def test_an_answer_is_a_view_that_no_later_one_changes(url: str) -> None:
    with connect(url, shared_memory=True) as client:
        answers = [client.infer("wide", {"x": wide(number)})["y"] for number in range(2 * placing.MOST_LENT)]
        assert [based_on_a_loan(answer) for answer in answers].count(True) == placing.MOST_LENT
        assert 1 < len(files()) <= placing.MOST_LENT + 3
        part = answers[0][:, 5:7]
        del answers[::2]
        for number in range(10):
            client.infer("wide", {"x": wide(-number)})
        for number, answer in enumerate(answers):
            np.testing.assert_array_equal(answer, -wide(2 * number + 1))
            with pytest.raises(ValueError, match="read-only"):
                answer[...] = 1
        assert part.tolist() == [[0, 0]]
    np.testing.assert_array_equal(answers[0], -wide(1))


def based_on_a_loan(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, placing._Loan)


def rounds(server: Server, url: str, count: int) -> None:
    """So many calls of changing sizes; fails where memory, regions or what is mapped grow with them."""
    process, sizes = psutil.Process(), []
    with connect(url, shared_memory=True) as client:
        for number in range(count):
            items = 1 + number % 4
            x = np.full((items, LARGE), number, np.float32)
            assert (client.infer("wide", {"x": x})["y"][:, ::4096] == -number).all()
            if number % 5 == 0:
                client.infer("lengths", {"tokens": np.ones((1, 1 + number % 9000), int)})
            if number % (count // 10) == 0:
                mapped = sum("conch-" in line for line in Path("/proc/self/maps").read_text().splitlines())
                sizes.append((process.memory_info().rss, mapped, len(regions(server)), len(files())))
        assert len({size[1:] for size in sizes[2:]}) == 1, sizes
        assert max(size[0] for size in sizes) - sizes[2][0] < 8 << 20, sizes


def test_three_hundred_rounds_leave_memory_flat(url: str, server: Server) -> None:
    rounds(server, url, 300)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_rounds_leave_memory_flat(url: str, server: Server) -> None:
    rounds(server, url, 10_000)


def test_threads_tasks_and_streams(url: str, server: Server) -> None:
    with connect(url, shared_memory=True) as client:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda number: check(client, number), range(96)))
        assert len(regions(server)) <= 3 * 16
        stream = client.map("wide", ({"x": wide(number)} for number in range(40)), concurrency=4)
        for number, answer in enumerate(stream):
            np.testing.assert_array_equal(answer["y"], -wide(number))
        stream = client.map("wide", ({"x": wide(number)} for number in range(40)), concurrency=4)
        next(stream)
        stream.close()  # three are under way
        check(client, 1)

    async def main() -> None:
        async with connect_async(url, shared_memory=True) as client:

            async def one(number: int) -> None:
                answer = await client.infer("wide", {"x": wide(number)})
                np.testing.assert_array_equal(answer["y"], -wide(number))

            await asyncio.gather(*(one(number) for number in range(40)))
            task = asyncio.create_task(client.infer("slow", {"x": x_of(1)}))
            await asyncio.sleep(0.3)
            task.cancel()
            await one(7)
            await asyncio.sleep(1)  # the server has run it

    asyncio.run(main())


def test_no_room_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(url, shared_memory=True) as client:
        check(client, 1)

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", full)
            with pytest.raises(ClientError, match=r"no room for .* MiB of shared memory \(No space left"):
                client.infer("wide", {"x": np.zeros((32, LARGE), np.float32)})
        check(client, 1)


def test_a_wrong_request_is_refused_as_without(url: str) -> None:
    with connect(url, shared_memory=True) as client:
        with pytest.raises(Refused, match="9"):
            client.infer("affine", {"x": x_of(1)}, version="9")
        check(client, 1)
        with pytest.raises(ClientError, match="shared_memory='yes', allowed are"):
            connect(url, shared_memory="yes")  # type: ignore[arg-type]
