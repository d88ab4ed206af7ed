"""Serve the model repository with Triton.

python -m serving up (until Ctrl-C, or another terminal says down)

python -m serving up -- python -m clients status (while a command runs)

python -m serving status

python -m serving down
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from serving.command import run_command
from serving.endpoint import ModelState, model_states, server_version
from serving.errors import ServingError
from serving.interruption import Interrupted, interruptible
from serving.server import LOOPBACK, Server
from serving.state import recorded, running, stop_running

ARTIFACTS = Path(os.environ.get("CONCH_ARTIFACTS", "artifacts"))
STATE_FILE = ARTIFACTS / "server" / "state.json"

console = Console()
errors = Console(stderr=True)


@dataclass(frozen=True)
class Up:
    """Serve every model of the repository: until Ctrl-C, or while a command runs.

    For example: python -m serving up --http-port 0 --grpc-port 0 --metrics-port 0 -- python -m clients status
    """

    command: tyro.conf.Positional[tuple[str, ...]] = ()
    """After `--`: a command to run once all models are ready. It finds the server in CONCH_HTTP, CONCH_GRPC and
    CONCH_METRICS (each host:port); the server ends with it, and `up` with its exit code."""

    repository: Path = ARTIFACTS / "models"
    """The model repository, as `python -m export` fills it."""

    host: str = LOOPBACK
    """The address to bind to. Whoever reaches it may use the server: keep it on loopback in untrusted networks."""

    http_port: int = 8000
    """The port of KServe v2 over HTTP; 0 picks a free one."""

    grpc_port: int = 8001
    """The port of KServe v2 over gRPC; 0 picks a free one."""

    metrics_port: int = 8002
    """The port of the Prometheus metrics; 0 picks a free one."""

    server: Path | None = None
    """A tritonserver to run instead of that of the nvidia-pytriton wheel."""

    timeout: float = 120.0
    """Seconds within which all models must be ready."""


@dataclass(frozen=True)
class Status:
    """Show what a server serves; exit code 1 when there is none or a model is not ready.

    For example: python -m serving status --url 127.0.0.1:8000
    """

    url: str | None = None
    """The HTTP address, host:port. Default: CONCH_HTTP, else the server that `up` started, else 127.0.0.1:8000."""


@dataclass(frozen=True)
class Down:
    """Stop the server that `up` started, and wait until it is gone."""


def up(options: Up) -> int:
    """Serve until interrupted or until the command has ended; return the exit code."""
    if not options.command and (other := running(STATE_FILE)):
        raise ServingError(
            f"a server is up already at {other.http} (process {other.pid}): `python -m serving down` stops it"
        )
    # With a command, standard output is the command's.
    screen = errors if options.command else console
    with interruptible(), contextlib.ExitStack() as stack:
        with _loading(screen) as on_progress:
            server = stack.enter_context(_server(options, on_progress))
        stack.callback(screen.print, "Stopping the server ...", style="dim")
        screen.print(_models_table(server.states()), _endpoints(server.http, server.grpc, server.metrics), sep="\n")
        if options.command:
            return run_command(list(options.command), server)
        with recorded(STATE_FILE, server):
            return _serve_until_interrupted(server)


def _serve_until_interrupted(server: Server) -> int:
    console.print("Ctrl-C stops it.", style="dim")
    try:
        while True:
            server.check_alive()
            time.sleep(0.5)
    except Interrupted:
        return 0  # it was asked to end and does


def _server(options: Up, on_progress: Callable[[int, int], None]) -> Server:
    return Server(
        options.repository,
        host=options.host,
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        program=options.server,
        timeout=options.timeout,
        log_file=ARTIFACTS / "server" / "triton.log",
        on_progress=on_progress,
    )


def status(options: Status) -> int:
    """Show models, versions, states and endpoints; return 1 when a model is not ready."""
    known = running(STATE_FILE)
    address = options.url or os.environ.get("CONCH_HTTP") or (known.http if known else f"{LOOPBACK}:8000")
    states = model_states(address)
    console.print(f"{server_version(address)} at {address}", highlight=False)
    console.print(_models_table(states))
    if known and known.http == address:
        console.print(_endpoints(known.http, known.grpc, known.metrics))
    return 0 if all(state.ready for state in states) else 1


def down() -> int:
    """Stop the server that `up` started."""
    stopped = stop_running(STATE_FILE)
    console.print(f"Stopped the server at {stopped.http}.", highlight=False)
    return 0


@contextlib.contextmanager
def _loading(screen: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of the models loaded, gone when they are."""
    columns = (SpinnerColumn(), TextColumn("Loading models"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda loaded, total: progress.update(task, completed=loaded, total=total)


def _models_table(states: list[ModelState]) -> Table:
    table = Table("model", "version", "state")
    for state in states:
        shown = "[green]ready" if state.ready else f"[red]{escape(state.state.lower())}: {escape(state.reason)}"
        table.add_row(escape(state.name), state.version, shown)
    return table


def _endpoints(http: str, grpc: str, metrics: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("HTTP", f"http://{http}/v2")
    table.add_row("gRPC", grpc)
    table.add_row("metrics", f"http://{metrics}/metrics")
    return table


def main() -> int:
    """Run one of the commands; an expected failure is one line on standard error and exit code 1."""
    try:
        commands = {"up": Up, "status": Status, "down": Down}
        chosen = tyro.extras.subcommand_cli_from_dict(commands, prog="python -m serving", description=__doc__)
        match chosen:
            case Up():
                return up(chosen)
            case Status():
                return status(chosen)
            case Down():
                return down()
    except ServingError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        return 1
    except Interrupted as interruption:
        return interruption.exit_code


if __name__ == "__main__":
    sys.exit(main())
