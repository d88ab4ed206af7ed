import pytest

from clients.address import Address, channel_options, resolve
from clients.errors import ClientError


@pytest.mark.parametrize(
    ("url", "protocol", "protocol_meant", "target"),
    [
        (None, None, "http", "localhost:8000"),
        (None, "grpc", "grpc", "localhost:8001"),
        ("box:9000", None, "http", "box:9000"),
        ("box:9000", "grpc", "grpc", "box:9000"),
        ("http://box:9000/", None, "http", "box:9000"),
        ("http://box:9000/triton/", None, "http", "box:9000/triton"),
        ("grpc://[::1]:9000", None, "grpc", "[::1]:9000"),
    ],
)
def test_part_of_an_address_is_completed(url: str, protocol: str, protocol_meant: str, target: str) -> None:
    assert resolve(url, protocol, {}) == Address(protocol_meant, target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://box", Address("http", "box:443", tls=True)),
        ("https://box/triton/", Address("http", "box:443/triton", tls=True)),
        ("https://[::1]", Address("http", "[::1]:443", tls=True)),
        ("grpcs://box:8001", Address("grpc", "box:8001", tls=True)),
    ],
)
def test_tls_has_prefixes_and_a_port_of_its_own(url: str, address: Address) -> None:
    assert resolve(url, environment={}) == address
    assert resolve(str(address), environment={}) == address


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("box:1", True),
        ("grpc://10.0.0.1:1", True),
        ("localhost:1", False),
        ("grpc://[::1]:1", False),
        ("https://box", False),
    ],
)
def test_what_others_can_read(url: str, exposed: bool) -> None:
    assert resolve(url, environment={}).exposed is exposed


def test_environment_names_the_server_unless_a_flag_does() -> None:
    environment = {"CONCH_HTTP": "web:1", "CONCH_GRPC": "rpc:2"}
    assert resolve(None, None, environment).target == "web:1"
    assert resolve(None, "grpc", environment).target == "rpc:2"
    assert resolve("box:3", "grpc", environment).target == "box:3"


@pytest.mark.parametrize(
    ("url", "protocol", "words"),
    [
        ("http://box:1", "grpc", "is a http address, but grpc is asked for: grpc://host:port"),
        ("grpcs://box:1", "http", "is a grpc address"),
        ("https://box:0", None, "expected host:port"),
        ("https://user:secret@box:1", None, "^...@box:1: expected host:port and nothing more"),
        ("gopher://user:secret@box:1", None, "^...@box:1: unknown prefix gopher://"),
        ("ftp://box:1", None, "unknown prefix ftp://"),
        ("box", None, "expected host:port"),
        ("box:port", None, "expected host:port"),
        ("", None, "expected host:port"),
        ("grpc://box:1/base", None, "nothing more"),
    ],
)
def test_wrong_address_says_what_is_allowed(url: str, protocol: str, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        resolve(url, protocol, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["localhost:8001", "127.0.0.1:1", "127.9.9.9:1", "[::1]:8001", "LOCALHOST:2"])
def test_loopback_is_asked_of_no_proxy(target: str) -> None:
    assert channel_options(target) == [("grpc.enable_http_proxy", 0)]


@pytest.mark.parametrize("target", ["box:8001", "10.0.0.1:8001", "127.example.com:1", "[2001:db8::1]:1"])
def test_others_are_reached_as_the_environment_says(target: str) -> None:
    assert channel_options(target) == []
