"""What all commands have in common: the server they talk to."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clients.address import Protocol
from clients.client import Client, connect
from clients.terminal import Terminal


@dataclass(frozen=True, kw_only=True)
class Endpoint(ABC):
    """A command of the client."""

    url: str | None = None
    """http://host:port, grpc://host:port or host:port; default: $CONCH_HTTP or $CONCH_GRPC, else localhost."""

    protocol: Protocol | None = None
    """The protocol to speak; default: the one of the address, else http."""

    timeout: float = 30.0
    """Seconds that a call to the server may take, all of it."""

    def connect(self) -> Client:
        """A client of the server these flags name. Raises ClientError."""
        return connect(self.url, self.protocol, self.timeout)

    @abstractmethod
    def run(self, client: Client, console: Console) -> None:
        """Do the work and show it on `console`. Raises ClientError."""


@dataclass(frozen=True, kw_only=True)
class Tabular(Endpoint):
    """A command that ends with a table."""

    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def progress() -> Progress:
    """A bar on stderr that leaves nothing behind, and nothing at all where stderr is no terminal."""
    console = Terminal(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
