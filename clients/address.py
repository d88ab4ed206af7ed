"""Where the server is and which protocol it speaks there."""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from clients.errors import ClientError

Protocol = Literal["http", "grpc"]

DEFAULTS: dict[Protocol, str] = {"http": "localhost:8000", "grpc": "localhost:8001"}
VARIABLES: dict[Protocol, str] = {"http": "CONCH_HTTP", "grpc": "CONCH_GRPC"}
PREFIXES: dict[str, tuple[Protocol, bool]] = {
    "http": ("http", False),
    "grpc": ("grpc", False),
    "https": ("http", True),
    "grpcs": ("grpc", True),
}
"""Prefix -> protocol, and whether it is spoken over TLS."""
TLS_PORT = 443


@dataclass(frozen=True)
class Address:
    """`target` is "host:port", over HTTP possibly with a base path ("host:port/triton")."""

    protocol: Protocol
    target: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.protocol}{'s' if self.tls else ''}://{self.target}"

    @property
    def exposed(self) -> bool:
        """Whether others can read what is sent: it leaves this machine as plain text."""
        return not self.tls and not is_loopback(self.target)

    @property
    def host_port(self) -> tuple[str, int]:
        """Without brackets, as sockets take them."""
        parts = urlsplit("//" + self.target)
        return str(parts.hostname), int(parts.port or 0)


def resolve(
    url: str | None = None, protocol: Protocol | None = None, environment: Mapping[str, str] = os.environ
) -> Address:
    """The address meant by a caller who may have given all of it, a part, or nothing.

    `url` is "host:port" with or without a prefix, which chooses the protocol: "http://" and "grpc://", or "https://"
    and "grpcs://" for TLS, whose port is 443 where none is named. Without `url`, the environment's CONCH_HTTP or
    CONCH_GRPC counts, and else Triton's own ports on localhost.

    Raises ClientError when the prefix contradicts `protocol` or there is no host and port in it.
    """
    if url is None:
        asked = protocol or "http"
        url = environment.get(VARIABLES[asked]) or DEFAULTS[asked]
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        return _address(protocol or "http", False, url.strip(), url)
    if scheme not in PREFIXES:
        raise ClientError(
            f"{_shown(url)}: unknown prefix {scheme}://, allowed are http://, https://, grpc:// and grpcs://"
        )
    meant, tls = PREFIXES[scheme]
    if protocol is not None and meant != protocol:
        raise ClientError(f"{_shown(url)} is a {meant} address, but {protocol} is asked for: {protocol}://host:port")
    return _address(meant, tls, rest, url)


def resolve_all(
    urls: str | Sequence[str] | None = None,
    protocol: Protocol | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[Address]:
    """The addresses of one or several servers that serve the same models, each as `resolve` takes it.

    Raises ClientError also for an empty list, or addresses of different protocols.
    """
    found = [resolve(url, protocol, environment) for url in ([urls] if urls is None or isinstance(urls, str) else urls)]
    if not found:
        raise ClientError("an empty list of servers; name one at least, for example localhost:8000")
    if len({address.protocol for address in found}) > 1:
        raise ClientError(f"{' and '.join(map(str, found))}: all servers of one client speak the same protocol")
    return list(dict.fromkeys(found))


def channel_options(target: str) -> list[tuple[str, int]]:
    """gRPC's options for a channel to `target`: no proxy where that is this machine, whatever http_proxy says.

    gRPC obeys http_proxy, https_proxy and grpc_proxy, and only no_proxy keeps it from asking a proxy for loopback.
    """
    return [("grpc.enable_http_proxy", 0)] if is_loopback(target) else []


def is_loopback(target: str) -> bool:
    """Whether `target`, "host:port", is on this machine by its name or address."""
    host = urlsplit("//" + target).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _address(protocol: Protocol, tls: bool, rest: str, url: str) -> Address:
    expected = f"expected host:port, for example {DEFAULTS[protocol]}"
    try:
        parts = urlsplit("//" + rest)
        port = parts.port
    except ValueError as error:
        raise ClientError(f"{_shown(url)}: {expected} ({error})") from error
    path = parts.path.rstrip("/")
    if parts.username is not None or parts.query or parts.fragment or (path and protocol == "grpc"):
        raise ClientError(f"{_shown(url)}: expected host:port and nothing more")
    if not parts.hostname or not (port or (tls and port is None)):
        raise ClientError(f"{_shown(url)}: {expected}")
    place = parts.netloc if port else f"{parts.netloc.rstrip(':')}:{TLS_PORT}"
    return Address(protocol, place + path, tls)


def _shown(url: str) -> str:
    """Without what may be a password."""
    _, separator, rest = url.partition("?")[0].rpartition("@")
    return f"...@{rest}" if separator else rest
