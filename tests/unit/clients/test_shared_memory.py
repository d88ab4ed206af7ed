"""Whose a region of shared memory is, and when it is anybody else's."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients import NoSharedMemory, connect
from clients.shared_memory import owner, region
from clients.shared_memory.cuda import CudaRegion
from clients.shared_memory.owner import Owner
from clients.shared_memory.pool import SMALLEST, Pool
from clients.shared_memory.region import LIVE, Region, abandoned, remove_leftovers
from tests.support.mock_cuda import MockDevice


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /dev/shm."""
    monkeypatch.setattr(region, "FOLDER", tmp_path)
    return tmp_path


def name_of(owner: Owner) -> str:
    return f"conch-{owner.namespace}-{owner.process}-{owner.started}-0-0123abcd"


def test_leftovers_are_those_of_owners_that_are_gone(folder: Path) -> None:
    here = Owner.here()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        started = owner._started(child.pid)
        assert started
        alive = Owner(here.namespace, child.pid, started)
        mine = Region(100)
        kept = [
            name_of(alive),
            name_of(Owner(here.namespace, 1, owner._started(1) or 0)),
            name_of(Owner(here.namespace + 1, 2**22 + 1, 5)),  # of a container: its processes are not seen from here
            mine.record.name,
            "conch",
            "conch-1-2-3",
            "conch-a-b-c-0-0123abcd",
            "psm_0123abcd",
        ]
        removed = [
            name_of(Owner(here.namespace, child.pid, started - 1)),  # its number is another's now
            name_of(Owner(here.namespace, 2**22 + 1, 5)),  # larger than any that Linux gives
            name_of(here),  # of this process, which has let go of it
        ]
        for name in kept + removed:
            (folder / name).touch()
        remove_leftovers()
        assert {file.name for file in folder.iterdir()} == set(kept)
        os.kill(child.pid, 9)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie, whose number is taken still
        assert abandoned(name_of(alive))


def test_a_process_that_may_not_be_looked_at_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /proc is mounted with hidepid."""

    def kill(process: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert not Owner(Owner.here().namespace, 2**22 + 1, 5).gone


def test_a_region_is_used_again_when_nobody_has_it(folder: Path) -> None:
    pool = Pool(Region)
    lease = pool.lease(10)
    first, name = lease.region, lease.region.record.name
    assert first.size == SMALLEST
    other = pool.lease(10)
    assert other.region is not first
    lease.settled = other.settled = True
    del lease
    assert pool.lease(SMALLEST + 1).region.size > SMALLEST + 1, "a larger one is needed"
    assert name not in LIVE, "for which the free one made way"
    assert pool.retired[0].name == name
    second = other.region
    del other
    again = pool.lease(SMALLEST)
    assert again.region is second
    again.settled = again.region.record.doubted = True  # a server may be at work in it
    del again
    assert not (folder / second.record.name).exists()
    left = pool.lease(1)
    pool.close()
    left.settled = True
    del left
    assert list(folder.iterdir()) == []


def test_what_a_forked_child_may_see_is_not_used_again() -> None:
    pool = Pool(Region)
    lease = pool.lease(10)
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    lease.settled = True
    name = lease.region.record.name
    del lease
    assert pool.lease(10).region.record.name != name
    assert name not in LIVE


@pytest.mark.parametrize(
    "array", [np.arange(24).reshape(2, 3, 4)[:, ::-1], np.array([[1, 2]], np.float16), np.array(True)]
)
def test_arrays_of_any_layout_come_back(array: np.ndarray) -> None:
    made: Any = Region(SMALLEST)
    made.put(64, array)
    np.testing.assert_array_equal(made.copied(64, array.dtype, array.shape), array, strict=True)


def test_a_forked_child_that_lets_go_of_the_parents_client_waits_for_nobody() -> None:
    """Another thread of the parent may have held the pool's lock."""
    client = connect(shared_memory=True)
    memory: Any = client._operations._memory
    lease = memory._pool.lease(10)
    with memory._pool._lock:
        if (child := os.fork()) == 0:
            signal.alarm(5)
            client.close()
            memory.let_go()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert lease.region.record.name in LIVE
    client.close()
    assert lease.region.record.name not in LIVE


def test_threads_get_a_region_each() -> None:
    pool, wrong = Pool(Region), []

    def work(own: np.ndarray) -> None:
        for _ in range(200):
            lease = pool.lease(8)
            lease.region.put(0, own)
            time.sleep(0)
            if lease.region.copied(0, own.dtype, own.shape) != own:
                wrong.append(own)
            lease.settled = True

    threads = [threading.Thread(target=work, args=(np.array(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(list(region.FOLDER.iterdir())) <= 16


def test_a_gpus_memory_is_freed_when_servers_have_let_go_of_it() -> None:
    """With a mock of a GPU; tests/gpu has a real one."""
    device: Any = MockDevice()
    pool = Pool(partial(CudaRegion, device))
    lease = pool.lease(1000)
    array = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3]
    lease.region.put(64, array)
    lease.region.put_bytes(0, b"text")
    np.testing.assert_array_equal(lease.region.copied(64, array.dtype, array.shape), array, strict=True)
    assert lease.region.copied(0, np.dtype(np.uint8), (4,)).tobytes() == b"text"
    assert lease.region.interface(64, 4) is None
    assert lease.region.record.registration.handle == b"\x01" * 64
    del lease
    assert len(device.allocated) == 1, "a server may have it still"
    pool.retired.clear()
    assert device.allocated == {}


def test_no_gpu_is_told_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)  # as where they are not installed
    with pytest.raises(NoSharedMemory, match=r"needs a GPU.*shared_memory=True"):
        connect(shared_memory="cuda")
