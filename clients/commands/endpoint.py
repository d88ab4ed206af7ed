"""What all commands have in common: the servers they talk to, and how they show what they do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clients.address import Protocol
from clients.client import Client, connect
from clients.commands.exit_codes import BadCommand
from clients.errors import ClientError
from clients.terminal import Terminal


@dataclass(frozen=True, kw_only=True)
class Endpoint(ABC):
    """A command of the client."""

    url: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """host:port, http://host:port or grpc://host:port; default: $CONCH_HTTP or $CONCH_GRPC, else localhost. Of several,
    requests go to those that answer."""

    protocol: Protocol | None = None
    """The protocol to speak; default: the one of the address, else http."""

    timeout: float = 30.0
    """Seconds that a call to the server may take, all of it."""

    json: bool = False
    """Print JSON instead, for programs; docs/json.md has its keys."""

    def connect(self) -> Client:
        """A client of the servers these flags name. Raises BadCommand."""
        try:
            return connect(self.url or None, self.protocol, self.timeout)
        except ClientError as error:  # nothing is sent yet: it is what was typed
            raise BadCommand(str(error)) from error

    @abstractmethod
    def run(self, client: Client, console: Console) -> int | None:
        """Do the work and show it on `console`; an exit code other than 0 where a part of it failed.

        Raises ClientError.
        """


def progress(console: Console | None = None) -> Progress:
    """A bar that leaves nothing behind: on `console` where that is a terminal, so that lines printed there stand above
    it, else on stderr, and nothing at all where that is none either."""
    shown = console if console and console.is_terminal else Terminal(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # What is printed meanwhile is not led to the bar's console, which may be another stream than that of the answers.
    return Progress(
        *columns,
        console=shown,
        transient=True,
        disable=not shown.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
