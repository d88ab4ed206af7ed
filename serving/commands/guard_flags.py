"""The flags of `conch serve` that say what stands between the server and the network."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import tyro

from serving.errors import ServingError
from serving.guard.access import Access, check_certificates, read_tokens
from serving.guard.guard import find_nginx
from serving.guard.limits import Limits
from serving.server.events import emit
from serving.server.ports import is_loopback

Opened = Literal["repository", "shared-memory", "trace", "log"]


@dataclass(frozen=True)
class AccessFlags:
    """Who is let in and how much he may ask; docs/security.md says what each keeps out."""

    certificate: Path | None = None
    """The guard's certificate, PEM with its chain: callers speak TLS."""
    key: Path | None = None
    """The certificate's key."""
    client_ca: Path | None = None
    """The authority of the certificates that callers must have."""
    token_file: Path | None = None
    """A file of mode 0600 with bearer tokens, one a line, one of which callers need."""
    control_token_file: Path | None = None
    """The same for what --open opens; these tokens are good for the rest, too."""
    open: tuple[Opened, ...] = ()
    """What else is open to control tokens: repository (load and unload), shared-memory, trace, log."""
    max_body: int | None = None
    """The largest request in bytes, over gRPC the largest message. Default: 16 MiB."""
    max_json: int | None = None
    """The most JSON in a request over HTTP, in bytes; tensors in binary do not count. Default: 2 MiB."""
    max_rate: int | None = None
    """Requests a second from one address. Default: 1000."""
    max_connections: int | None = None
    """Requests under way from one address. Default: 64."""

    def checked(self, host: str) -> tuple[Limits, Access]:
        """What callers of a guard at `host` may ask, and which callers.

        Raises:
            ServingError: The options contradict each other, a file cannot be used, or nginx is missing.
        """
        found = self._limits(), self._access(host)
        find_nginx()
        tell_if_open(host, found[1])
        return found

    def _limits(self) -> Limits:
        given = {
            "body": self.max_body, "json": self.max_json, "rate": self.max_rate, "connections": self.max_connections,
        }  # fmt: skip
        if wrong := [name for name, value in given.items() if value is not None and value < 1]:
            raise ServingError(f"--max-{wrong[0]} {given[wrong[0]]} lets nothing in: 1 at least, or leave it out")
        limits = Limits(**{name: value for name, value in given.items() if value is not None})
        return replace(limits, requests=max(limits.requests, limits.connections))

    def _access(self, host: str) -> Access:
        if bool(self.open) != bool(self.control_token_file):
            raise ServingError(
                "--open and --control-token-file need each other: what is opened, and the tokens that it is open to"
            )
        access = Access(
            self.certificate,
            self.key,
            self.client_ca,
            read_tokens(self.token_file) if self.token_file else (),
            read_tokens(self.control_token_file) if self.control_token_file else (),
            tuple(self.open),
        )
        check_certificates(access)
        if access.certificate is None and (access.tokens or access.control_tokens) and not is_loopback(host):
            raise ServingError(
                f"tokens would go to {host} as plain text, for others to read: give --certificate and --key, too"
            )
        return access


@dataclass(frozen=True)
class GuardFlags(AccessFlags):
    """As `conch serve` takes them."""

    guard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Put nginx in front, and behind it a filter of requests. So it is where --host is not loopback, or one of the
    options above is given."""
    no_guard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let everybody who reaches --host have the server itself."""

    def prepared(self, host: str) -> tuple[Limits, Access] | None:
        """As `checked`, or None where there is to be no guard."""
        if self._wanted(host):
            return self.checked(host)
        tell_if_open(host, None)
        return None

    def _wanted(self, host: str) -> bool:
        given = [f"--{flag.name.replace('_', '-')}" for flag in fields(self) if self._given(flag.name)]
        if self.no_guard:
            if asked := ", ".join(flag for flag in given if flag != "--no-guard"):
                raise ServingError(f"{asked} and --no-guard contradict each other: leave one of them out")
            return False
        return bool(given) or not is_loopback(host)

    def _given(self, name: str) -> bool:
        return getattr(self, name) not in (None, ()) and getattr(self, name) is not False


def tell_if_open(host: str, access: Access | None) -> None:
    """Warn of what a network at `host` can do that is not to be trusted."""
    if not is_loopback(host) and (reason := _open(access)):
        emit(
            "guard_open", f"whoever reaches {host} may use the server{reason}: docs/security.md", level="warning",
            host=host,
        )  # fmt: skip


def _open(access: Access | None) -> str:
    """What is missing for a network that is not trusted; empty where nothing is."""
    if access is None:
        return " and end it: there is no guard (--no-guard)"
    if access.certificate is None:
        return ", and read what others send: --certificate, --key and --token-file change that"
    return "" if access.tokens or access.client_ca else ": --token-file or --client-ca ask who it is"
