"""What all commands have in common: the servers they talk to, and how they show what they do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from clients.address import Protocol
from clients.client import Client, connect
from clients.commands.exit_codes import BadCommand
from clients.errors import ClientError


@dataclass(frozen=True, kw_only=True)
class Endpoint(ABC):
    """A command of the client."""

    url: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """host:port, http://host:port or grpc://host:port, with TLS https:// or grpcs://; default: $CONCH_HTTP or
    $CONCH_GRPC, else localhost. Of several, requests go to those that answer."""

    protocol: Protocol | None = None
    """The protocol to speak; default: the one of the address, else http."""

    timeout: float = 30.0
    """Seconds that a call to the server may take, all of it."""

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

    json: bool = False
    """Print JSON instead, for programs; docs/json.md has its keys."""

    def connect(self) -> Client:
        """A client of the servers these flags name. Raises BadCommand."""
        if self.token is not None and self.token_file is not None:
            raise BadCommand("--token and --token-file are given: one of them is needed")
        try:
            return connect(
                self.url or None,
                self.protocol,
                self.timeout,
                token=self.token or self.token_file,
                plain_text=self.plain_text,
                ca=self.ca,
                certificate=self.certificate,
                key=self.key,
            )
        except ClientError as error:  # nothing is sent yet: it is what was typed
            raise BadCommand(str(error)) from error

    @abstractmethod
    def run(self, client: Client, console: Console) -> int | None:
        """Do the work and show it on `console`; an exit code other than 0 where a part of it failed.

        Raises ClientError.
        """
