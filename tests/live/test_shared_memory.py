"""Tensors in memory that client and server share: right answers, nothing left behind however a process ends, and no
answer that a later one overwrites."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import urllib3

from clients import Client, ClientError, DeadlineExceeded, NoSharedMemory, Refused, connect, connect_async
from clients.shared_memory import cuda, placing, region
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.client_kinds import KINDS, called
from tests.support.loads import ROOT
from tests.support.mock_cuda import MockDevice

PROTOCOLS = ["http", "grpc"]
LARGE = 1 << 16  # numbers of an item of `wide`, 256 KiB

SLOW = """
import time
import triton_python_backend_utils as backend

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(1)
        return [
            backend.InferenceResponse([backend.Tensor("y", backend.get_input_tensor_by_name(request, "x").as_numpy())])
            for request in requests
        ]
"""
SLOW_CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "y" data_type: TYPE_FP32 dims: [4] }
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared_memory")
    wide = f"wide (float[batch, {LARGE}] x) => (float[batch, {LARGE}] y) {{ y = Neg(x) }}"
    models = {"affine": graphs.AFFINE, "identities": graphs.IDENTITIES, "lengths": graphs.LENGTHS, "wide": wide}
    for name, graph in models.items():
        publish_file(graphs.write(graph, folder / f"{name}.onnx"), name, folder / "models")
    slow = folder / "models" / "slow"
    (slow / "1").mkdir(parents=True)
    (slow / "1" / "model.py").write_text(SLOW)
    (slow / "config.pbtxt").write_text(SLOW_CONFIG)
    return folder / "models"


@pytest.fixture(scope="module")
def small(repository: Path) -> Path:
    """A repository whose server is soon there."""
    folder = repository.parent / "small"
    folder.mkdir()
    (folder / "affine").symlink_to(repository / "affine")
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(params=PROTOCOLS)
def url(request: pytest.FixtureRequest, server: Server) -> str:
    return f"{request.param}://{getattr(server, request.param)}"


def regions(server: Server) -> set[str]:
    """The names that a server has registered."""
    answer = urllib3.request("GET", f"http://{server.http}/v2/systemsharedmemory/status")
    return {entry["name"] for entry in json.loads(answer.data)}


def files(process: int | None = None) -> set[str]:
    """The names of a process's regions that are in the file system."""
    return {file.name for file in Path("/dev/shm").glob(f"conch-*-{process or os.getpid()}-*")}


@pytest.fixture(autouse=True)
def _nothing_left(server: Server) -> Iterator[None]:
    yield
    assert files() == set()
    assert regions(server) == set()


def x_of(number: float, items: int = 1) -> np.ndarray:
    return np.full((items, 4), number, np.float32)


def wide(number: float) -> np.ndarray:
    return np.full((1, LARGE), number, np.float32)


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


def check(client: Client, number: int) -> None:
    answer = client.infer("affine", {"x": x_of(number, 1 + number % 3)})
    np.testing.assert_array_equal(answer["doubled"], x_of(2 * number, 1 + number % 3))
    np.testing.assert_array_equal(client.infer("wide", {"x": wide(number)})["y"], -wide(number))


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


@pytest.mark.parametrize("kind", KINDS)
def test_memory_that_the_server_is_busy_with_is_nobody_elses(url: str, server: Server, kind: str) -> None:
    """After a deadline the server runs the request to its end, and writes where it was told to."""
    seen: list[set[str]] = []

    def late(client: Any) -> Any:
        return client.infer("slow", {"x": x_of(1)}, timeout=0.4)

    def other(client: Any) -> Any:
        seen.append(files())
        return client.infer("affine", {"x": x_of(5)})

    def awhile(client: Any) -> None:
        seen.append(regions(server))
        time.sleep(1.2)

    def tried(client: Any) -> Any:
        async def asynchronous() -> None:
            with pytest.raises(DeadlineExceeded):
                await late(client)

        if kind == "asyncio":
            return asynchronous()
        with pytest.raises(DeadlineExceeded):
            return late(client)

    works = [lambda client: client.infer("affine", {"x": x_of(1)}), tried, other, awhile, other, other]
    answers = called(kind, url, *works, shared_memory=True)
    for answer in (answers[2], answers[4], answers[5]):
        np.testing.assert_array_equal(answer["doubled"], x_of(10))
    assert seen[0] == set()  # unlinked at once
    assert len(seen[1]) == 4  # those of the call that is over, and others
    assert len(seen[2]) == 2


LIFE = """
import os, signal, sys, threading, time, numpy as np
from clients import connect, connect_async
url, ending = sys.argv[1:]
x = np.ones((1, 4), np.float32)

def call(client):
    np.testing.assert_array_equal(client.infer("affine", {"x": x})["doubled"], 2 * x)

if ending == "asyncio, exit":
    import asyncio
    async def main():
        client = connect_async(url, shared_memory=True)
        await client.infer("affine", {"x": x})
    asyncio.run(main())
elif ending == "multiprocessing":
    import multiprocessing
    def work():
        global client
        client = connect(url, shared_memory=True)
        call(client)
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    sys.exit(process.exitcode)
elif ending == "SIGTERM in a child":
    client = connect(url, shared_memory=True)
    call(client)
    if (child := os.fork()) == 0:
        time.sleep(60)
    os.kill(child, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    call(client)
else:
    client = connect(url, shared_memory=True)
    call(client)
    if ending == "exception":
        raise SystemExit(3)
    if ending == "in the middle of a call":
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGTERM)).start()
        client.infer("slow", {"x": x})
    if ending in ("SIGTERM", "SIGKILL"):
        os.kill(os.getpid(), getattr(signal, ending))
        time.sleep(60)
"""


ENDINGS = {
    "asyncio, exit": 0,
    "exception": 3,
    "multiprocessing": 0,
    "SIGTERM": -signal.SIGTERM,
    "SIGTERM in a child": 0,
    "in the middle of a call": -signal.SIGTERM,
    "SIGKILL": -signal.SIGKILL,
}


@pytest.mark.parametrize(("ending", "code"), ENDINGS.items())
def test_nothing_is_left_of_a_process_that_ends(url: str, server: Server, ending: str, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", LIFE, url, ending], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    if ending == "SIGKILL":
        assert len(files(process.pid)) == len(regions(server)) == 2
        made = connect(url, shared_memory=True)
        assert files(process.pid) == set()
        with made as client:
            check(client, 1)
            assert regions(server) == files()
    assert files(process.pid) == set()


FORKED = """
import os, sys, time, numpy as np
from clients import connect

def wide(number):
    return np.full((1, 1 << 16), number, np.float32)

def calls(client, of, count=30):
    for number in range(of, of + count):
        np.testing.assert_array_equal(client.infer("wide", {"x": wide(number)})["y"], -wide(number))

with connect(sys.argv[1], shared_memory=True) as client:
    answer = client.infer("wide", {"x": wide(1)})["y"]
    children = []
    for child in range(3):
        if (process := os.fork()) == 0:
            try:
                calls(client, 1000 * (child + 1))
                np.testing.assert_array_equal(answer, -wide(1))  # the parent has let it go, and called since
                client.close()
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr)
            os._exit(1)
        children.append(process)
    del answer
    calls(client, 0)
    assert [os.waitpid(process, 0)[1] for process in children] == [0] * 3
    calls(client, 0, 2)
    if (process := os.fork()) == 0:
        client.close()  # of a child that has made no call
        sys.exit()
    os.waitpid(process, 0)
    calls(client, 0, 2)
    assert len([name for name in os.listdir("/dev/shm") if f"-{os.getpid()}-" in name]) >= 2
"""


def test_forked_children_leave_the_parents_memory_alone(url: str) -> None:
    ended = subprocess.run([sys.executable, "-c", FORKED, url], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def double(client: Client, *numbers: int) -> None:
    for number in numbers:
        np.testing.assert_array_equal(client.infer("affine", {"x": x_of(number)})["doubled"], x_of(2 * number))


def test_a_server_that_was_started_again_and_a_second_one(small: Path, server: Server) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Server(small, http_port=0, grpc_port=0, metrics_port=0))
        ports = {name: int(getattr(first, name).rpartition(":")[2]) for name in PROTOCOLS}
        urls = {name: [f"{name}://{getattr(one, name)}" for one in (server, first)] for name in PROTOCOLS}
        clients = [
            stack.enter_context(connect(pair, shared_memory=True, repeatable=True, timeout=10))
            for pair in urls.values()
        ]
        for client in clients:
            double(client, *range(4))
        assert regions(first) == regions(server) == files()
        os.kill(first.pid, signal.SIGKILL)
        for client in clients:
            double(client, *range(4))
        again = Server(small, http_port=ports["http"], grpc_port=ports["grpc"], metrics_port=0)
        stack.enter_context(again)
        time.sleep(2)  # clients leave it alone for so long
        assert regions(again) == set()
        for client in clients:
            double(client, *range(4))
        assert len(regions(again)) >= 2
        assert regions(again) <= files()
        for client in clients:
            client.close()
        assert regions(again) == regions(server) == set()
        with contextlib.suppress(Exception):  # the one that was killed
            stack.close()


def test_a_server_that_cannot_open_it_is_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another machine: the region is in another /dev/shm than the server's."""
    monkeypatch.setattr(region, "FOLDER", tmp_path)
    with connect(url, shared_memory=True) as client:
        for _ in range(2):
            with pytest.raises(NoSharedMemory, match=r"on another machine.*call without shared_memory"):
                client.infer("affine", {"x": x_of(1)})


def test_a_server_whose_endpoint_is_closed_is_told(small: Path) -> None:
    options = [
        f"{option}=shared-memory:key=secret" for option in ("--http-restricted-api", "--grpc-restricted-protocol")
    ]
    with Server(small, http_port=0, grpc_port=0, metrics_port=0, options=options) as server:
        for protocol in PROTOCOLS:
            address = f"{protocol}://{getattr(server, protocol)}"
            with connect(address, shared_memory=True) as client:
                with pytest.raises(NoSharedMemory, match=r"does not let it be used.*api_keys") as told:
                    double(client, 1)
                assert "secret" not in str(told.value)
            with connect(address, shared_memory=True, api_keys={"key": "secret"}) as client:
                double(client, 1)


def test_a_gpus_memory_that_the_server_cannot_open_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock's, here; tests/gpu has a real one."""
    device = MockDevice()
    monkeypatch.setattr(cuda, "Device", lambda: device)
    with (
        connect(url, shared_memory="cuda") as client,
        pytest.raises(NoSharedMemory, match="call without shared_memory"),
    ):
        client.infer("affine", {"x": x_of(1)})
    gc.collect()
    assert device.allocated == {}


def test_a_client_that_nobody_closed_keeps_no_memory(url: str, server: Server) -> None:
    client = connect(url, shared_memory=True)
    answer = client.infer("wide", {"x": wide(3)})["y"]
    assert len(files()) == 2
    del client
    gc.collect()
    assert files() == set()
    np.testing.assert_array_equal(answer, -wide(3))
    with connect(url, shared_memory=True) as client:  # has the server forget them, too
        check(client, 1)
        assert regions(server) == files()


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
