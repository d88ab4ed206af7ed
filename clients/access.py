"""Whom a program trusts over TLS, and what it shows to be let in, as its flags and its environment say."""

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clients.address import Address, Protocol, is_loopback
from clients.certificates import VARIABLES, Certificates
from clients.credentials import TOKEN, TOKEN_FILE, Credentials
from clients.errors import ClientError

if TYPE_CHECKING:
    from clients.client import Client


@dataclass(frozen=True)
class Door:
    """One address, and what opens it."""

    address: Address
    certificates: Certificates = Certificates()  # noqa: RUF009  # frozen
    credentials: Credentials | None = None

    @cached_property
    def context(self) -> ssl.SSLContext | None:
        """For connections of Python's own; None without TLS. Raises ClientError for a file that cannot be used."""
        return self.certificates.context() if self.address.tls else None

    def headers(self) -> Mapping[str, str]:
        """Those of a request that is sent now. Raises ClientError for a token's file that has gone."""
        return self.credentials.headers() if self.credentials else {}


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a server lets a caller in. What is not given is taken from the environment."""

    ca: Path | None = None
    """With TLS: the authorities to trust, in PEM; default: $CONCH_CA, else those of this machine."""

    certificate: Path | None = None
    """With TLS: what to show a server that asks for it, in PEM; default: $CONCH_CERTIFICATE."""

    key: Path | None = None
    """The key of --certificate, in PEM, where that is not in the same file; default: $CONCH_KEY."""

    token_file: Path | None = None
    """A file with a bearer token; default: $CONCH_TOKEN or $CONCH_TOKEN_FILE."""

    token: str | None = field(default=None, repr=False)
    """The token itself, which others on this machine can see in the list of processes."""

    plain_text: bool = False
    """Send tokens and keys to another machine without TLS, too: where the network itself is safe."""

    def connect(
        self,
        url: str | Sequence[str] | None = None,
        protocol: Protocol | None = None,
        timeout: float = 30.0,
        **more: Any,
    ) -> "Client":
        """As `clients.connect`. Raises ClientError."""
        from clients.client import connect  # which brings more than who only asks for a door needs

        return connect(
            url,
            protocol,
            timeout,
            token=self._given_token(),
            plain_text=self.plain_text,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            **more,
        )

    def door(self, address: Address) -> Door:
        """For a transport of one's own. Raises ClientError for what cannot be used there."""
        return Door(
            address,
            Certificates.given([address], self.ca, self.certificate, self.key),
            Credentials([address], token=self._given_token(), plain_text=self.plain_text),
        )

    def metrics_door(self, metrics: Address, server: Address) -> Door:
        """That of the metrics of `server`: the token goes there where they are on the server's machine, over TLS or on
        this one, and to nobody else who listens at their address; whose path may be named. Raises ClientError."""
        metrics = replace(metrics, target=metrics.target.removesuffix("/metrics"))
        certificates = (self.ca, self.certificate, self.key) if metrics.tls else (None, None, None)
        shown = _same_host(metrics, server) and (self.plain_text or not metrics.exposed)
        return Door(
            metrics,
            Certificates.given([metrics], *certificates),
            Credentials([metrics], token=self._given_token(), plain_text=self.plain_text) if shown else None,
        )

    def environment(self) -> dict[str, str]:
        """That of a child process which is to be let in alike: its words stand in the list of processes."""
        found = dict(os.environ)
        if self.token is not None or self.token_file is not None:
            found = {name: value for name, value in found.items() if name not in (TOKEN, TOKEN_FILE)}
        if self.certificate is not None:
            found.pop(VARIABLES["key"], None)
        given = {VARIABLES[name]: getattr(self, name) for name in VARIABLES}
        given |= {TOKEN: self.token, TOKEN_FILE: self.token_file}
        return found | {name: str(value) for name, value in given.items() if value is not None}

    def _given_token(self) -> str | Path | None:
        if self.token is not None and self.token_file is not None:
            raise ClientError("--token and --token-file are given: one of them is needed")
        return self.token if self.token is not None else self.token_file


def _same_host(one: Address, other: Address) -> bool:
    if is_loopback(one.target) and is_loopback(other.target):
        return True
    return one.host_port[0].lower() == other.host_port[0].lower()
