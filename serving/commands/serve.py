"""`conch serve`: a Triton over the model repository, until Ctrl-C or while a command runs."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from conch.command_line import ERR, OUT, print_json
from conch.contracts.artifacts import artifacts_folder, models_folder
from conch.contracts.ensembles import whole_of
from conch.contracts.errors import ConchError
from conch.contracts.versions import versions
from serving.commands.durations import seconds_of
from serving.commands.guard_flags import GuardFlags
from serving.commands.run import run
from serving.commands.tables import endpoints_table, models_table, server_document
from serving.guard.guard import Guard
from serving.monitoring.health import Health
from serving.monitoring.metrics import SupervisorMetrics
from serving.monitoring.page import PAGE_VARIABLE, metrics_page, public_door, watching
from serving.repository.folder import check_repository
from serving.repository.scheduling_choices import resources_of
from serving.server.command import run_command
from serving.server.events import LogFormat, emit, listening, writer
from serving.server.interruption import Interrupted, interruptible
from serving.server.model_views import held_back
from serving.server.not_loaded import failure
from serving.server.ports import is_loopback
from serving.server.running import VARIABLE, alone, recorded, state_file
from serving.server.server import LOOPBACK, Server
from serving.server.supervisor import Supervisor

LOADS_ON_DEMAND = ("--model-control-mode=explicit", "--load-model=*")
LOOK_SECONDS = 0.1
NOT_ALL_SERVED = 3
"""The exit code where all else went well, but a model did not load, or lost a process and is not whole again."""


@dataclass(frozen=True)
class Places:
    """A server that has started, and where it is reached."""

    server: Server
    page: str
    """Where this command's own metrics are, "host:port"."""
    guard: Mapping[str, str] | None
    """The addresses of its guard, where it has one."""


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
    resource: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=UNITS")] = (),
    json: bool = False,
    log_format: LogFormat = "text",
    probe: str | None = None,
    supervisor_metrics_port: int | None = None,
    guarding: tyro.conf.OmitArgPrefixes[GuardFlags] = GuardFlags(),  # noqa: B008  # frozen
) -> int:
    """Serve every model of the repository: until Ctrl-C, or while a command runs.

    A model that does not load is named at once, with the reason; the others are served. The exit code is then 3 where
    it would be 0: the command after -- ended well, or the server was asked to end, but not everything was served.

    Without a command the server is looked after: one that dies is started again, and a model that loses a process is
    loaded anew.

    For example: conch serve --probe 10s --log-format json
    conch serve --http-port 0 --grpc-port 0 --metrics-port 0 -- conch call status

    Args:
        command: After --, a command to run once all models are ready. It finds the server in CONCH_HTTP, CONCH_GRPC,
            CONCH_METRICS and CONCH_SUPERVISOR_METRICS (each host:port). The server ends with it, and this command with
            its exit code.
        repository: The model repository, as conch export fills it. Default: artifacts/models.
        host: The address to bind to. Where it is not loopback, a guard takes the requests: docs/security.md.
        http_port: The port of KServe v2 over HTTP; 0 picks a free one.
        grpc_port: The port of KServe v2 over gRPC; 0 picks a free one.
        metrics_port: The port of the Prometheus metrics; 0 picks a free one.
        server: A tritonserver to run instead of that of the nvidia-pytriton wheel.
        timeout: Seconds within which all models must be ready.
        exit_on_error: End with exit code 1 instead, and serve nothing, when a model does not load.
        resource: Units of what models that were published with --resource share. Once for each. Default: as many as
            the instance that needs the most.
        json: Say in one line of JSON, for programs, where the server is and what it serves, once it is ready;
            docs/json.md has its keys.
        log_format: text for a person, or json: one object a line, on standard error, for each thing that happens to the
            server; docs/operations.md lists them.
        probe: Ask each live model one golden request this often, as clients do, and tell what comes back: 10s, 1m.
            Default: not at all.
        supervisor_metrics_port: The port of what this command itself knows, for Prometheus, on loopback: restarts,
            rollouts, answers to probes. 0 picks a free one. Default: the one after --metrics-port, or a free one where
            that is 0.
        guarding: What stands between the server and the network.
    """
    screen = ERR if command or json else OUT  # standard output is the command's, or JSON
    with listening(writer(log_format, screen)):
        try:
            guarded = guarding.prepared(host)
            wanted = {"HTTP": http_port, "gRPC": grpc_port, "metrics": metrics_port}
            behind = dict.fromkeys(wanted, 0) if guarded else wanted
            # Whoever reaches a server that loads models can run code on it.
            loads = bool(guarded) or is_loopback(host)
            lost: list[str] = []

            def on_loss(text: str) -> None:
                lost.append(text)
                emit("backend_process_died", text, level="error")

            every = seconds_of("--probe", probe) if probe else None
            own_port = (
                supervisor_metrics_port if supervisor_metrics_port is not None else metrics_port and metrics_port + 1
            )
            metrics, health = SupervisorMetrics(), Health()
            with interruptible(), contextlib.ExitStack() as stack:
                if not command:
                    check_repository(repository or models_folder())  # before anything is made where nothing is
                    stack.enter_context(alone(state_file()))
                page = stack.enter_context(metrics_page(metrics, own_port, health))
                with _loading(screen) as on_progress:
                    started = stack.enter_context(
                        Server(
                            repository or models_folder(),
                            host=LOOPBACK if guarded else host,
                            http_port=behind["HTTP"],
                            grpc_port=behind["gRPC"],
                            metrics_port=behind["metrics"],
                            program=server,
                            timeout=timeout,
                            exit_on_error=exit_on_error,
                            log_file=artifacts_folder() / "server" / "triton.log",
                            on_progress=on_progress,
                            on_loss=on_loss,
                            reloadable=loads and not command,
                            options=LOADS_ON_DEMAND if loads else (),
                            resources=resources_of(resource),
                        )
                    )
                stack.callback(emit, "server_stopping", "Stopping the server ...")
                guard = stack.enter_context(Guard(started, host, wanted, *guarded)).addresses if guarded else None
                places = Places(started, page, guard)
                _say_what_is_served(places, screen if log_format == "text" else None, command, json)
                door = public_door(started.http, guard, guarded and guarded[1])
                supervisor = None if command else stack.enter_context(Supervisor(started, loads=loads))
                unwell = supervisor.unwell if supervisor and loads else None
                stack.enter_context(watching(started.repository, started.http, door, metrics, every, health, unwell))
                code = _run_on(places, list(command), loads, supervisor)
        except ConchError as error:
            emit("server_failed", str(error), level="error")
            return 1
    return NOT_ALL_SERVED if code == 0 and (started.not_loaded or lost) else code


def _say_what_is_served(places: Places, screen: Console | None, command: Sequence[str], json: bool) -> None:
    """As a document where `json` asks for one, as tables on `screen` where there is one, and as events."""
    server, page, guard = places.server, places.page, places.guard
    states = server.states()
    if json:
        document = server_document(states, server.http, server.grpc, server.metrics, page, guard)
        print_json(document, sys.stderr if command else sys.stdout, indent=None)
    elif screen:
        endpoints = endpoints_table(server.http, server.grpc, server.metrics, page, guard)
        screen.print(models_table(states, server.metrics), endpoints, sep="\n")
    for state in server.not_loaded:
        emit(
            "model_not_loaded", failure(state), level="error", model=state.name, version=state.version,
            reason=state.reason,
        )  # fmt: skip
    for model, live, newest in _held_back(server.repository):
        emit(
            "version_held_back",
            f"{model}: version {live} is live by its history; to get {newest}: conch rollout {model}",
            model=model, version=live, newest=newest,
        )  # fmt: skip
    ready = sum(state.ready for state in states)
    until = " while the command runs" if command else "; Ctrl-C stops it"
    emit(
        "server_ready", f"{ready} of {len(states)} model versions are served{until}", pid=server.pid,
        http=server.http, grpc=server.grpc, metrics=server.metrics, supervisor_metrics=page,
        guard=guard, ready=ready, versions=len(states),
    )  # fmt: skip


def _held_back(repository: Path) -> Iterator[tuple[str, int, int]]:
    """Each model whose newest version is not the live one, with the live and the newest."""
    for model in sorted(entry for entry in repository.iterdir() if entry.is_dir()):
        if whole_of(model) is None and (live := held_back(model)):
            yield model.name, live, max(versions(model))


def _run_on(places: Places, command: list[str], loads: bool, supervisor: Supervisor | None) -> int:
    """Run `command` while the server is up, or have it supervised until the end; the exit code."""
    server, page, guard = places.server, places.page, places.guard
    if supervisor is None:
        record = server.models.parent / "state.json"
        with recorded(record, server, loads_on_demand=loads, supervisor_metrics=page, guard=guard):
            return run_command(command, server, {VARIABLE: str(record), PAGE_VARIABLE: page})
    try:
        with recorded(state_file(), server, loads_on_demand=loads, supervisor_metrics=page, guard=guard) as tell:
            supervisor.on_change = lambda: tell(supervisor.restarts, supervisor.troubles)
            while True:
                supervisor.look()
                time.sleep(LOOK_SECONDS)
    except Interrupted:  # it was asked to end, and does
        return NOT_ALL_SERVED if supervisor.troubles else 0


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
