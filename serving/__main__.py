"""Serve the model repository with Triton, and put ONNX files into it.

python -m serving up (until Ctrl-C, or another terminal says down)

python -m serving up -- python -m clients status (while a command runs)

python -m serving status

python -m serving down

python -m serving publish model.onnx --name mine

python -m serving lint

python -m serving tune resnet --promise p99=20ms
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from serving.commands.lint import lint
from serving.commands.tune import tune
from serving.errors import ServingError
from serving.kserve.endpoint import ModelState, model_states, server_version
from serving.kserve.first_touch import first_touches
from serving.kserve.first_touch import table as first_touch_table
from serving.kserve.placement import placements, shown
from serving.repository.foreign import publish_file
from serving.server.command import run_command
from serving.server.interruption import Interrupted, interruptible
from serving.server.running import recorded, running, stop_running
from serving.server.server import LOOPBACK, Server

ARTIFACTS = Path(os.environ.get("CONCH_ARTIFACTS", "artifacts"))
STATE_FILE = ARTIFACTS / "server" / "state.json"

console = Console()
errors = Console(stderr=True)


def up(
    command: tyro.conf.Positional[tuple[str, ...]] = (),
    repository: Path = ARTIFACTS / "models",
    host: str = LOOPBACK,
    http_port: int = 8000,
    grpc_port: int = 8001,
    metrics_port: int = 8002,
    server: Path | None = None,
    timeout: float = 120.0,
) -> int:
    """Serve every model of the repository: until Ctrl-C, or while a command runs.

    For example: python -m serving up --http-port 0 --grpc-port 0 --metrics-port 0 -- python -m clients status

    Args:
        command: After --, a command to run once all models are ready. It finds the server in CONCH_HTTP, CONCH_GRPC and
            CONCH_METRICS (each host:port). The server ends with it, and this command with its exit code.
        repository: The model repository, as python -m export fills it.
        host: The address to bind to. Whoever reaches it may use the server: keep it on loopback in untrusted networks.
        http_port: The port of KServe v2 over HTTP; 0 picks a free one.
        grpc_port: The port of KServe v2 over gRPC; 0 picks a free one.
        metrics_port: The port of the Prometheus metrics; 0 picks a free one.
        server: A tritonserver to run instead of that of the nvidia-pytriton wheel.
        timeout: Seconds within which all models must be ready.
    """
    if not command and (other := running(STATE_FILE)):
        raise ServingError(
            f"a server is up already at {other.http} (process {other.pid}): `python -m serving down` stops it"
        )
    screen = errors if command else console  # with a command, standard output is the command's
    with interruptible(), contextlib.ExitStack() as stack:
        with _loading(screen) as on_progress:
            started = stack.enter_context(
                Server(
                    repository,
                    host=host,
                    http_port=http_port,
                    grpc_port=grpc_port,
                    metrics_port=metrics_port,
                    program=server,
                    timeout=timeout,
                    log_file=ARTIFACTS / "server" / "triton.log",
                    on_progress=on_progress,
                )
            )
        stack.callback(screen.print, "Stopping the server ...", style="dim")
        screen.print(
            _models(started.states(), started.metrics),
            _endpoints(started.http, started.grpc, started.metrics),
            sep="\n",
        )
        if command:
            return run_command(list(command), started)
        with recorded(STATE_FILE, started):
            return _serve_until_interrupted(started)


def status(url: str | None = None, first_touch: bool = False) -> int:
    """Show what a server serves. Exit code 1 when there is none, or a model is not ready.

    For example: python -m serving status --first-touch

    Args:
        url: Its HTTP address, host:port. Default: CONCH_HTTP, else the server that up started, else 127.0.0.1:8000.
        first_touch: Ask each model once for each batch size, then 20 times more, and compare. Only right after a start
            are these its first requests; the table says where they are not.
    """
    known = running(STATE_FILE)
    address = url or os.environ.get("CONCH_HTTP") or (known.http if known else f"{LOOPBACK}:8000")
    metrics = known.metrics if known and known.http == address else None
    if metrics is None and address == os.environ.get("CONCH_HTTP"):
        metrics = os.environ.get("CONCH_METRICS")
    states = model_states(address)
    console.print(f"{server_version(address)} at {address}", highlight=False)
    console.print(_models(states, metrics))
    if first_touch:
        console.print(first_touch_table(first_touches(address, states)))
    if known and known.http == address:
        console.print(_endpoints(known.http, known.grpc, known.metrics))
    return 0 if all(state.ready for state in states) else 1


def down() -> int:
    """Stop the server that up started, and wait until it is gone."""
    stopped = stop_running(STATE_FILE)
    console.print(f"Stopped the server at {stopped.http}.", highlight=False)
    return 0


def publish(
    onnx_file: tyro.conf.Positional[Path],
    name: str,
    max_batch: int | None = None,
    labels: str | None = None,
    inputs_from: Path | None = None,
    tensorrt: str | None = None,
    repository: Path = ARTIFACTS / "models",
) -> int:
    """Publish an existing ONNX file: inspected, shown to load and run, its inputs and outputs named as they are.

    For example: python -m serving publish model.onnx --name mine

    Args:
        onnx_file: The model. External data files beside it are published along.
        name: Its name in the repository and for clients.
        max_batch: The most rows that requests may share a run with; 0 runs each request alone. Default: 32 where the
            first axis of every input and output is open and a row's answer is shown not to depend on its neighbours,
            else 0.
        labels: A text file of class labels, one a line; OUTPUT=FILE where the model has several outputs.
        inputs_from: An .npz file with an array for each input, to show the model on real inputs. Default: generated.
        tensorrt: Run on TensorRT in fp16 where the server has a GPU, and keep its engines in this folder: an absolute
            path as the server sees it, which has to be there. What is shown here is shown on the CPU, in fp32.
        repository: The model repository.
    """
    version, trial = publish_file(onnx_file, name, repository, max_batch, labels, inputs_from, tensorrt)
    if trial.note:
        console.print(f"[yellow]{escape(name)}: served without batches, {escape(trial.note)}[/]", highlight=False)
    if not trial.repeatable:
        console.print(
            f"[yellow]{escape(name)}: the same inputs gave other outputs the second time, "
            "a load test will call its answers wrong[/]",
            highlight=False,
        )
    batches = ", ".join(str(run["batch"]) for run in trial.runs)
    ran = f"batches of {batches}" if trial.max_batch_size else "no batches"
    console.print(
        f"[green]{escape(name)}[/]: runs ({ran}; inputs {trial.inputs}), no PyTorch reference -> {version}",
        highlight=False,
    )
    return 0


def _serve_until_interrupted(server: Server) -> int:
    console.print("Ctrl-C stops it.", style="dim")
    try:
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


def _models(states: list[ModelState], metrics: str | None) -> Table:
    """What is served, and what it runs on where the server's metrics are known and tell."""
    found = placements(metrics) if metrics else None
    table = Table("model", "version", "state", *(["runs on"] if found else []))
    for state in states:
        ready = "[green]ready" if state.ready else f"[red]{escape(state.state.lower())}: {escape(state.reason)}"
        table.add_row(escape(state.name), state.version, ready, *([shown(state, found)] if found else []))
    return table


def _endpoints(http: str, grpc: str, metrics: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("HTTP", f"http://{http}/v2")
    table.add_row("gRPC", grpc)
    table.add_row("metrics", f"http://{metrics}/metrics")
    return table


def main() -> int:
    """Run one of the commands; an expected failure is one line on standard error and exit code 1."""
    commands: dict[str, Callable[..., int]] = {
        "up": up,
        "status": status,
        "down": down,
        "publish": publish,
        "lint": lint,
        "tune": tune,
    }
    try:
        return tyro.extras.subcommand_cli_from_dict(commands, prog="python -m serving", description=__doc__)
    except ServingError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        return 1
    except Interrupted as interruption:
        return interruption.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
