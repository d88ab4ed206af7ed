"""Servers that come and go, that cannot open the memory or let nobody use it."""

import contextlib
import gc
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from clients import Client, NoSharedMemory, connect
from clients.shared_memory import cuda, region
from serving.server.server import Server
from tests.support.mock_cuda import MockDevice
from tests.support.shared_memory import PROTOCOLS, files, regions, x_of


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
