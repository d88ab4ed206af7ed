"""Ports are free when they are handed out, and a taken one is named."""

import contextlib
import socket
import time

import pytest

from serving.errors import ServingError
from serving.server.ports import reserve, unsent


def test_zero_picks_different_free_ports() -> None:
    found = reserve("127.0.0.1", {"HTTP": 0, "gRPC": 0, "metrics": 0})
    assert list(found) == ["HTTP", "gRPC", "metrics"]
    assert len(set(found.values())) == 3
    assert reserve("127.0.0.1", found) == found, "they are free afterwards"


def test_a_taken_port_is_named_with_its_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ServingError, match=rf"port {port} .* for gRPC .*Address already in use.*--grpc-port"):
            reserve("127.0.0.1", {"HTTP": 0, "gRPC": port})


def test_one_port_for_two_services_is_refused() -> None:
    port = reserve("127.0.0.1", {"HTTP": 0})["HTTP"]
    with pytest.raises(ServingError, match=f"port {port} .* for gRPC"):
        reserve("127.0.0.1", {"HTTP": port, "gRPC": port})


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ServingError, match=f"port {port} for HTTP is no port"):
        reserve("127.0.0.1", {"HTTP": port})


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ServingError, match=r"on 192\.0\.2\.1 for HTTP cannot be used"):
        reserve("192.0.2.1", {"HTTP": 0})


def test_what_the_other_side_has_not_taken_is_unsent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as reader, listener.accept()[0] as writer:
            assert not unsent({port})
            writer.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += writer.send(bytes(1 << 20))
            assert unsent({port})
            assert not unsent({port + 1})
            while sent:
                sent -= len(reader.recv(1 << 20))
            deadline = time.monotonic() + 10
            while unsent({port}) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not unsent({port})
