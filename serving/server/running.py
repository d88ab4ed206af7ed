"""What `up` leaves on disk for `down` and `status`: which process serves, and where."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.owned import is_owned, owning
from conch.contracts.whole import write_whole
from serving.errors import ServingError
from serving.server import processes
from serving.server.server import STOP_SECONDS, Server

VARIABLE = "CONCH_SERVER"
"""In the environment of a command that `conch serve` runs: the file that tells of the server."""


def state_file() -> Path:
    """Where `conch serve` says what it serves."""
    return artifacts_folder() / "server" / "state.json"


def server_file() -> Path:
    """What tells a command of its server: `state_file`, or that of the `conch serve` that runs the command."""
    return Path(os.environ.get(VARIABLE) or state_file())


@dataclass(frozen=True)
class Running:
    """A server that `conch serve` runs."""

    pid: int
    """The process of `up`, which stops the server when it is asked to end."""
    started: int
    """Its start in clock ticks since boot: another process with the same number has another."""
    http: str
    grpc: str
    metrics: str
    repository: str
    supervisor_metrics: str = ""
    """Where what `conch serve` itself knows is told, "host:port"."""
    models: str = ""
    """The folder that Triton takes for the repository, where it loads models on demand; else empty."""
    not_loaded: list[dict[str, str]] = field(default_factory=list)
    """What did not load when it started: the fields of a `ModelState` each."""
    guard: dict[str, str] = field(default_factory=dict)
    """Where clients of a network find it, by "http", "grpc" and "metrics", where a guard is in front; else empty."""
    restarts: list[str] = field(default_factory=list)
    """Why it was started again, each time that it was."""
    troubles: dict[str, str] = field(default_factory=dict)
    """Model -> why not all of it serves at this moment, though the server says that it is ready."""

    @property
    def here(self) -> bool:
        """Whether that very process is one of this machine, or of this container, and still runs."""
        return processes.start_time(self.pid) == self.started


def running(file: Path) -> Running | None:
    """The server that `file` tells of, or None when there is no file, no sense in it, or its process has ended.

    The folder of the file is that process's for as long as it lives. Its number would not tell: another container that
    shares the artifacts has numbers of its own.
    """
    try:
        found = Running(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if is_owned(file.parent) else None


@contextlib.contextmanager
def alone(file: Path) -> Iterator[None]:
    """Be the one server that `file` may tell of, from before it starts until it is gone.

    Raises:
        ServingError: Another one is, or its folder cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            ours = stack.enter_context(owning(file.parent))
        except OSError as error:
            raise ServingError(f"cannot write {file}: {error.strerror}") from error
        if not ours and (other := running(file)):
            raise ServingError(
                f"a server is up already at http://{other.http} (process {other.pid}): `conch down` stops it"
            )
        if not ours:
            raise ServingError(f"another server starts or ends with the same artifacts ({file.parent}): try again")
        with contextlib.suppress(OSError):
            file.unlink()  # what a killed one left
        yield


@contextlib.contextmanager
def recorded(
    file: Path,
    server: Server,
    *,
    loads_on_demand: bool = False,
    supervisor_metrics: str = "",
    guard: Mapping[str, str] | None = None,
) -> Iterator[Callable[[list[str], dict[str, str]], None]]:
    """Keep `file`, whose folder is this process's, telling of `server` within the block.

    Yields a function that has it tell of `restarts` and `troubles` from then on; on a full disk it does nothing.
    """
    pid = os.getpid()

    def write(restarts: list[str], troubles: dict[str, str]) -> None:
        record = Running(
            pid, processes.start_time(pid) or 0, server.http, server.grpc, server.metrics,
            str(server.repository.resolve()), supervisor_metrics=supervisor_metrics,
            models=str(server.models) if loads_on_demand else "",
            not_loaded=[asdict(state) for state in server.not_loaded], guard=dict(guard or {}),
            restarts=restarts, troubles=troubles,
        )  # fmt: skip
        write_whole(file, (json.dumps(asdict(record), indent=2) + "\n").encode())

    def rewrite(restarts: list[str], troubles: dict[str, str]) -> None:
        with contextlib.suppress(OSError):
            write(restarts, troubles)

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write([], {})
    except OSError as error:
        raise ServingError(f"cannot write {file}: {error.strerror}") from error
    try:
        yield rewrite
    finally:
        file.unlink(missing_ok=True)


def stop_running(file: Path) -> Running:
    """Ask the `up` that `file` tells of to end and wait until it has.

    Raises:
        ServingError: There is none, it runs elsewhere, or it does not end.
    """
    found = running(file)
    if found is None:
        with contextlib.suppress(OSError):
            file.unlink()  # what a killed `up` left
        raise ServingError(f"no server started by `conch serve` is running (by {file})")
    if not found.here:
        raise ServingError(
            f"the server at http://{found.http} runs in another container or on another machine, as process "
            f"{found.pid} there: stop it there (by {file})"
        )
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS + 10
    while found.here:
        if time.monotonic() > deadline:
            raise ServingError(f"the server (process {found.pid}) has not ended")
        time.sleep(0.05)
    return found
