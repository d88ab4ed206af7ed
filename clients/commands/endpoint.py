"""What all commands have in common: the servers they talk to, and how they show what they do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

from clients.access import Access
from clients.address import Protocol
from clients.client import Client
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

    access: tyro.conf.OmitArgPrefixes[Access] = Access()  # noqa: RUF009  # frozen
    """How the server lets this command in."""

    json: bool = False
    """Print JSON instead, for programs; docs/json.md has its keys."""

    def connect(self) -> Client:
        """A client of the servers these flags name. Raises BadCommand."""
        try:
            return self.access.connect(self.url or None, self.protocol, self.timeout)
        except ClientError as error:  # nothing is sent yet: it is what was typed
            raise BadCommand(str(error)) from error

    @abstractmethod
    def run(self, client: Client, console: Console) -> int | None:
        """Do the work and show it on `console`; an exit code other than 0 where a part of it failed.

        Raises ClientError.
        """
