"""`conch serve`: a Triton over the model repository, until Ctrl-C or while a command runs."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from conch.command_line import ERR, OUT, fail, print_json
from conch.contracts.artifacts import artifacts_folder, models_folder
from conch.contracts.versions import versions
from serving.commands.run import run
from serving.commands.tables import endpoints_table, models_table, server_document
from serving.errors import ServingError
from serving.server.command import run_command
from serving.server.interruption import Interrupted, interruptible
from serving.server.model_views import held_back
from serving.server.not_loaded import failure
from serving.server.ports import is_loopback
from serving.server.running import VARIABLE, recorded, running, state_file
from serving.server.server import LOOPBACK, Server

LOADS_ON_DEMAND = ("--model-control-mode=explicit", "--load-model=*")
NOT_ALL_SERVED = 3
"""The exit code where all else went well, but a model did not load or lost a process."""


def serve(
    command: tyro.conf.Positional[tuple[str, ...]] = (),
    repository: Path | None = None,
    host: str = LOOPBACK,
    http_port: int = 8000,
    grpc_port: int = 8001,
    metrics_port: int = 8002,
    server: Path | None = None,
    timeout: float = 120.0,
    exit_on_error: bool = False,
    json: bool = False,
) -> int:
    """Serve every model of the repository: until Ctrl-C, or while a command runs.

    A model that does not load is named at once, with the reason; the others are served. The exit code is then 3 where
    it would be 0: the command after -- ended well, or the server was asked to end, but not everything was served.

    For example: conch serve --http-port 0 --grpc-port 0 --metrics-port 0 -- conch call status

    Args:
        command: After --, a command to run once all models are ready. It finds the server in CONCH_HTTP, CONCH_GRPC and
            CONCH_METRICS (each host:port). The server ends with it, and this command with its exit code.
        repository: The model repository, as conch export fills it. Default: artifacts/models.
        host: The address to bind to. Whoever reaches it may use the server: keep it on loopback in untrusted networks.
        http_port: The port of KServe v2 over HTTP; 0 picks a free one.
        grpc_port: The port of KServe v2 over gRPC; 0 picks a free one.
        metrics_port: The port of the Prometheus metrics; 0 picks a free one.
        server: A tritonserver to run instead of that of the nvidia-pytriton wheel.
        timeout: Seconds within which all models must be ready.
        exit_on_error: End with exit code 1 instead, and serve nothing, when a model does not load.
        json: Say in one line of JSON, for programs, where the server is and what it serves, once it is ready;
            docs/json.md has its keys.
    """
    if not command and (other := running(state_file())):
        raise ServingError(
            f"a server is up already at http://{other.http} (process {other.pid}): `conch down` stops it"
        )
    screen = ERR if command or json else OUT  # standard output is the command's, or JSON
    lost: list[str] = []
    loads = is_loopback(host)  # whoever reaches a server that loads models can run code on it

    def on_loss(text: str) -> None:
        lost.append(text)
        fail(text)

    with interruptible(), contextlib.ExitStack() as stack:
        with _loading(screen) as on_progress:
            started = stack.enter_context(
                Server(
                    repository or models_folder(),
                    host=host,
                    http_port=http_port,
                    grpc_port=grpc_port,
                    metrics_port=metrics_port,
                    program=server,
                    timeout=timeout,
                    exit_on_error=exit_on_error,
                    log_file=artifacts_folder() / "server" / "triton.log",
                    on_progress=on_progress,
                    on_loss=on_loss,
                    options=LOADS_ON_DEMAND if loads else (),
                )
            )
        stack.callback(screen.print, "Stopping the server ...", style="dim")
        if json:
            document = server_document(started.states(), started.http, started.grpc, started.metrics)
            print_json(document, sys.stderr if command else sys.stdout, indent=None)
        else:
            screen.print(
                models_table(started.states(), started.metrics),
                endpoints_table(started.http, started.grpc, started.metrics),
                sep="\n",
            )
        for state in started.not_loaded:
            fail(failure(state))
        for line in _held_back(started.repository):
            screen.print(line, style="yellow", highlight=False)
        if command:
            record = started.models.parent / "state.json"
            with recorded(record, started, loads_on_demand=loads):
                code = run_command(list(command), started, {VARIABLE: str(record)})
        else:
            code = _serve_until_interrupted(started, screen, loads)
    return NOT_ALL_SERVED if code == 0 and (started.not_loaded or lost) else code


def _held_back(repository: Path) -> Iterator[str]:
    """A line for each model whose newest version is not the live one."""
    for model in sorted(entry for entry in repository.iterdir() if entry.is_dir()):
        if live := held_back(model):
            newest = max(versions(model))
            yield f"{model.name}: version {live} is live by its history; to get {newest}: conch rollout {model.name}"


def _serve_until_interrupted(server: Server, screen: Console, loads: bool) -> int:
    try:
        with recorded(state_file(), server, loads_on_demand=loads):
            screen.print("Ctrl-C stops it.", style="dim")
            while True:
                server.check_alive()
                time.sleep(0.5)
    except Interrupted:
        return 0  # it was asked to end, and does


@contextlib.contextmanager
def _loading(screen: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of the models loaded, gone when they are."""
    columns = (SpinnerColumn(), TextColumn("Loading models"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda loaded, total: progress.update(task, completed=loaded, total=total)


def main(words: Sequence[str]) -> int:
    """Run `conch serve` with these words; the exit code."""
    return run(lambda: tyro.cli(serve, prog="conch serve", args=words))
