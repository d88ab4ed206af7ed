"""Clients of a real Triton: shared by threads, tasks, greenlets and forked children; and while it is stopped, killed
and started again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients import Client, ClientError, DeadlineExceeded, Unreachable, WrongTensor, connect, connect_async
from serving.errors import ServingError
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.client_kinds import KINDS, called
from tests.support.loads import ROOT
from tests.support.stopped import stop_process

PROTOCOLS = ["http", "grpc"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trouble")
    for name, graph in {"affine": graphs.AFFINE, "identities": graphs.IDENTITIES, "lengths": graphs.LENGTHS}.items():
        publish_file(graphs.write(graph, folder / f"{name}.onnx"), name, folder / "models")
    return folder / "models"


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[Server]:
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """One that the test has to leave alive: else it fails by the server's last words, and the next one has another."""
    yield shared
    try:
        shared.check_process()
    except ServingError:
        shared.restart()
        raise


@pytest.fixture(params=PROTOCOLS)
def url(request: pytest.FixtureRequest, server: Server) -> str:
    return f"{request.param}://{getattr(server, request.param)}"


def x_of(number: float, items: int = 1) -> np.ndarray:
    return np.full((items, 4), number, np.float32)


def check(client: Client, number: int) -> None:
    """The answer to one's own question and no other's."""
    answer = client.infer("affine", {"x": x_of(number, 1 + number % 3)})
    np.testing.assert_array_equal(answer["doubled"], x_of(2 * number, 1 + number % 3))


def test_sixteen_threads_share_a_client(url: str) -> None:
    with connect(url) as client, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: check(client, number), range(480)))
        assert client.statistics.calls == 480
        assert client.statistics.failed == client.statistics.retries == 0


def test_two_hundred_tasks_share_a_client(url: str) -> None:
    async def main() -> None:
        async with connect_async(url) as client:

            async def one(number: int) -> None:
                answer = await client.infer("affine", {"x": x_of(number)})
                np.testing.assert_array_equal(answer["doubled"], x_of(2 * number))

            await asyncio.gather(*(one(number) for number in range(200)))

    asyncio.run(main())


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, time, gevent, numpy as np
from clients import connect
with connect(sys.argv[1]) as client:
    def one(number):
        x = np.full((1, 4), number, np.float32)
        for _ in range(5):
            np.testing.assert_array_equal(client.infer("affine", {"x": x})["doubled"], 2 * x)
    ticks = []
    ticker = gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0.002)) for _ in range(10**6)])
    greenlets = [gevent.spawn(one, number) for number in range(40)]
    gevent.joinall(greenlets, timeout=60, raise_error=True)
    assert all(greenlet.successful() for greenlet in greenlets)
    assert len(ticks) > 5, "other greenlets go on meanwhile"
"""


def test_greenlets_share_a_client(url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", GREENLETS, url], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr


FORKED = """
import os, sys, numpy as np
from clients import connect, connect_async, ClientError
import asyncio

def calls(client, of, count=100):
    for number in range(count):
        x = np.full((1, 4), of + number, np.float32)
        np.testing.assert_array_equal(client.infer("affine", {"x": x})["doubled"], 2 * x)

with connect(sys.argv[1], timeout=20) as client:
    calls(client, 0, 1)
    children = []
    for child in range(4):
        if (process := os.fork()) == 0:
            try:
                calls(client, 1000 * (child + 1))
                assert client.statistics.calls == 100
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(process)
    calls(client, 0)
    assert [os.waitpid(process, 0)[1] for process in children] == [0] * 4

asyncio_client = connect_async(sys.argv[1])
if (process := os.fork()) == 0:
    try:
        asyncio.run(asyncio_client.ready())
    except ClientError as error:
        os._exit(0 if "connect_async() again after a fork" in str(error) else 2)
    os._exit(3)
assert os.waitpid(process, 0)[1] == 0
os._exit(0)
"""


def test_parent_and_children_go_on_with_one_client_at_the_same_time(url: str) -> None:
    ended = subprocess.run([sys.executable, "-c", FORKED, url], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


INTERRUPTED = """
import signal, sys, threading, time, os, numpy as np
from clients import connect
from tests.support.stopped import stop_process
with connect(sys.argv[1], timeout=60) as client:
    x = np.ones((int(sys.argv[3]), 4), np.float32)
    client.infer("affine", {"x": x})
    stop_process(int(sys.argv[2]))
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    try:
        client.infer("affine", {"x": x})
    except KeyboardInterrupt:
        print(time.monotonic() - begun)
    os.kill(int(sys.argv[2]), signal.SIGCONT)
    for number in range(20):
        x = np.full((1, 4), number, np.float32)
        np.testing.assert_array_equal(client.infer("affine", {"x": x})["doubled"], 2 * x)
"""


@pytest.mark.parametrize("items", [1, 40])
def test_ctrl_c_ends_a_call_at_once_and_the_client_goes_on(url: str, server: Server, items: int) -> None:
    command = [sys.executable, "-c", INTERRUPTED, url, str(server.pid), str(items)]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert ended.returncode == 0, ended.stderr
    assert 0.4 < float(ended.stdout) < 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_server_is_given_up_at_the_deadline(url: str, server: Server, kind: str) -> None:
    def stop(client: Any) -> None:
        stop_process(server.pid)

    def infer(client: Any) -> Any:
        return client.infer("affine", {"x": x_of(3)})

    try:
        for works in [infer, stop, infer], [stop, lambda client: client.metadata("affine")]:
            begun = time.monotonic()
            with pytest.raises(DeadlineExceeded, match=r"within 0\.5 s"):
                called(kind, url, *works, timeout=0.5, repeatable=True)
            assert time.monotonic() - begun < 3
            os.kill(server.pid, signal.SIGCONT)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    np.testing.assert_array_equal(called(kind, url, infer)[-1]["doubled"], x_of(6))


def test_every_type_goes_there_and_back(url: str) -> None:
    lists: dict[str, Any] = {"bool": [True, False], "string": ["Käse", b"nul\0"]}
    inputs = {f"in_{kind}": [lists.get(kind, [1, 2])] for kind in graphs.TYPES}
    with connect(url) as client:
        answer = client.infer("identities", inputs)
        for kind in graphs.TYPES:
            expected = [["Käse".encode(), b"nul\0"]] if kind == "string" else inputs[f"in_{kind}"]
            assert answer[f"out_{kind}"].tolist() == expected
        one = client.infer("identities", {name: values[0] for name, values in inputs.items()})
        assert one["out_string"].shape == one["out_float16"].shape == (2,)
        assert one["out_float16"].dtype == np.float16


def test_batches_of_every_size(url: str) -> None:
    with connect(url) as client:
        most = client.metadata("affine").max_batch_size
        for items in (0, 1, most, most + 1, 20 * most + 3):
            x = np.arange(4 * items, dtype=np.float32).reshape(items, 4)
            np.testing.assert_array_equal(client.infer("affine", {"x": x})["doubled"], 2 * x)
        assert client.infer("lengths", {"tokens": np.zeros((2, 0), int)})["features"].shape == (2, 0, 2)
        with pytest.raises(WrongTensor, match="is missing, needed is"):
            client.infer("identities", {"in_bool": [[True, False]]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_keeps_its_order(url: str, kind: str) -> None:
    """Batches of other sizes take other times, and Triton runs several together."""
    sizes = [1 + (7 * number) % 70 for number in range(200)]  # some are larger than the server takes

    def stream() -> Iterator[dict[str, np.ndarray]]:
        return ({"x": x_of(number, size)} for number, size in enumerate(sizes))

    def blocking(client: Any) -> list[dict[str, np.ndarray]]:
        return list(client.map("affine", stream()))

    async def asynchronous(client: Any) -> list[dict[str, np.ndarray]]:
        return [answer async for answer in client.map("affine", stream())]

    (answers,) = called(kind, url, blocking if kind == "blocking" else asynchronous)
    assert len(answers) == len(sizes)
    for number, (size, answer) in enumerate(zip(sizes, answers, strict=True)):
        np.testing.assert_array_equal(answer["doubled"], x_of(2 * number, size))


def test_a_large_tensor_there_and_back(url: str) -> None:
    tokens = np.arange(8 << 20).reshape(1, -1)
    with connect(url) as client:
        features = client.infer("lengths", {"tokens": tokens}, timeout=60)["features"]
    assert not features.flags.owndata, "a view of what was read"
    np.testing.assert_array_equal(features[0, ::9999, 0], tokens[0, ::9999].astype(np.float32))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_killed_server_is_told_and_another_takes_over(repository: Path, server: Server, protocol: str) -> None:
    """SIGKILL under load: no answer is wrong, no call outlasts its time, and those that may run twice do not fail."""
    wrong: list[str] = []
    ended = threading.Event()
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as dying:
        urls = [f"{protocol}://{getattr(one, protocol)}" for one in (dying, server)]

        def go_on(client: Client, number: int) -> None:
            while not ended.is_set():
                begun = time.monotonic()
                try:
                    check(client, number)
                except Exception as error:
                    wrong.append(repr(error))
                if time.monotonic() - begun > 6:
                    wrong.append(f"took {time.monotonic() - begun:.1f} s")

        with connect(urls, timeout=5, repeatable=True) as client, ThreadPoolExecutor(8) as pool:
            threads = [pool.submit(go_on, client, number) for number in range(8)]
            time.sleep(0.5)
            with connect(urls[0], timeout=5) as alone:
                check(alone, 1)
                os.kill(dying.pid, signal.SIGKILL)
                time.sleep(0.2)
                with pytest.raises(Unreachable, match=r"no server at|broke"):
                    check(alone, 1)
            time.sleep(1.5)
            ended.set()
            for thread in threads:
                thread.result(timeout=30)
            assert wrong == []
            assert client.statistics.failovers >= 1
            assert client.statistics.failed == 0


@pytest.mark.parametrize(("protocol", "kind"), [("http", "asyncio"), ("grpc", "blocking")])
def test_a_restarted_server_is_found_again(repository: Path, protocol: str, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Server(repository, http_port=0, grpc_port=0, metrics_port=0))
        ports = {name: int(getattr(first, name).rpartition(":")[2]) for name in ("http", "grpc")}

        def infer(client: Any) -> Any:
            return client.infer("affine", {"x": x_of(4)})

        def restart(client: Any) -> None:
            os.kill(first.pid, signal.SIGKILL)
            with contextlib.suppress(Exception):
                stack.pop_all().close()
            stack.enter_context(Server(repository, http_port=ports["http"], grpc_port=ports["grpc"], metrics_port=0))

        url = f"{protocol}://127.0.0.1:{ports[protocol]}"
        answers = called(kind, url, infer, restart, infer, timeout=30, repeatable=True, attempts=100)
        np.testing.assert_array_equal(answers[-1]["doubled"], x_of(8))


def test_no_client_error_is_a_traceback_of_something_else(url: str) -> None:
    with connect(url) as client:
        wrong: list[dict[str, Any]] = [{"x": None}, {"x": [[1, 2, 3, None]]}, {"x": [[1], [2, 3]]}, {"x": "\ud800"}, {}]
        for inputs in wrong:
            with pytest.raises(ClientError):
                client.infer("affine", inputs)
        client.close()
        with pytest.raises(ClientError, match="closed"):
            client.ready()
