"""Nothing is left behind, however a call, a client or a process ends."""

import gc
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from clients import DeadlineExceeded, connect
from serving.server.server import Server
from tests.support.client_kinds import KINDS, called
from tests.support.loads import ROOT
from tests.support.shared_memory import check, files, regions, wide, x_of


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
