"""A Triton server over a model repository, from start to clean stop."""

import contextlib
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from serving.errors import ServingError
from serving.kserve.endpoint import ModelState, model_states
from serving.server import ports, processes, tritonserver
from serving.server.server_folder import make_server_folder

LOOPBACK = "127.0.0.1"
# Triton looks once a second whether its models are unloaded; three seconds is usual with a few models.
STOP_SECONDS = 20.0
ATTEMPTS = 3
TAKEN = "already in use"
"""What Triton's log says of a port that somebody else holds."""

log = logging.getLogger(__name__)


class Server:
    """A `tritonserver` that serves all models of `repository` within a `with` block.

    ```python
    with Server(Path("artifacts/models"), http_port=0, grpc_port=0, metrics_port=0) as server:
        client = tritonclient.http.InferenceServerClient(server.http)
    ```

    Args:
        repository: The model repository.
        host: The address to bind to. Loopback, unless the network around is trusted: this server asks nobody who he is.
        http_port, grpc_port, metrics_port: 0 picks a free one.
        program: A `tritonserver`; None takes that of the nvidia-pytriton wheel.
        timeout: Seconds within which all models must be ready.
        log_file: Where Triton's log goes; None puts it beside the temporary files, and it is gone afterwards.
        on_progress: Called with the number of models loaded so far and the number in the repository.
        options: More options of `tritonserver`, as on its command line.

    Enter it in the main thread: the server is stopped when the thread that started it ends.
    """

    def __init__(
        self,
        repository: Path,
        *,
        host: str = LOOPBACK,
        http_port: int = 8000,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        program: Path | None = None,
        timeout: float = 120.0,
        log_file: Path | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.repository = repository
        self._host = host
        self._wanted = {"HTTP": http_port, "gRPC": grpc_port, "metrics": metrics_port}
        self._program = program
        self._timeout = timeout
        self._log_file = log_file
        self._on_progress = on_progress
        self._options = options
        self._addresses: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        """Where to reach the HTTP service, "host:port"."""
        return self._addresses["HTTP"]

    @property
    def grpc(self) -> str:
        """Where to reach the gRPC service, "host:port"."""
        return self._addresses["gRPC"]

    @property
    def metrics(self) -> str:
        """Where to reach the Prometheus metrics, "host:port"; the path is /metrics."""
        return self._addresses["metrics"]

    @property
    def pid(self) -> int:
        """The server's process number, which is its process group's as well."""
        assert self._process is not None, "the server is not started"
        return self._process.pid

    def states(self) -> list[ModelState]:
        """Every version of every model, as the server says."""
        return model_states(self.http)

    def check_alive(self) -> None:
        """Raise a `ServingError` when the server has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            code = self._process.returncode if self._process else None
            raise ServingError(f"tritonserver ended by itself (exit code {code}): {self._last_error()}")

    def __enter__(self) -> Self:
        """Start and wait until every model is ready.

        Raises:
            ServingError: No tritonserver, no models, a taken port, a model that fails to load, or no time left.
        """
        models = check_repository(self.repository)
        with contextlib.ExitStack() as stack:  # undone in reverse if anything below fails
            folder = make_server_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            installation = tritonserver.install(tritonserver.find_program(self._program), folder)
            self._log = self._log_file or folder / "triton.log"
            stack.callback(self._stop)
            for attempt in range(ATTEMPTS):
                try:
                    self._start(installation, folder, ports.reserve(self._host, self._wanted))
                    self._await_ready(len(models))
                    break
                except ServingError:
                    # A free port that was picked is released before Triton binds it, and may be somebody's by then.
                    if attempt == ATTEMPTS - 1 or 0 not in self._wanted.values() or TAKEN not in self._log_text():
                        raise
                    self._stop()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, installation: tritonserver.Installation, folder: Path, found: dict[str, int]) -> None:
        self._addresses = {service: f"{_reachable(self._host)}:{port}" for service, port in found.items()}
        command = [
            str(installation.program),
            f"--model-repository={self.repository.resolve()}",
            f"--backend-directory={installation.backends}",
            *(f"--{service.lower()}-address={self._host}" for service in found),
            *(f"--{service.lower()}-port={port}" for service, port in found.items()),
            # A model that fails is reported by name below; a server that exits first could not be asked for the reason.
            "--exit-on-error=false",
            # Requests in flight are waited for, but not beyond the time after which the server is killed.
            f"--exit-timeout-secs={STOP_SECONDS * 0.75:.0f}",
            *self._options,
        ]
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.unlink(missing_ok=True)  # a new file: an older server may still write to the one before
            output = self._log.open("wb")
        except OSError as error:
            raise ServingError(f"cannot write the server's log {self._log}: {error.strerror}") from error
        with output:
            self._process = processes.spawn(
                command,
                cwd=folder,  # the stub's Python imports from where it runs: an empty place
                env=installation.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _await_ready(self, models: int) -> None:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if self._on_progress:
                self._on_progress(min(self._log_text().count('"successfully loaded '), models), models)
            self.check_alive()
            try:
                states = model_states(self.http, timeout=1.0)  # it answers as soon as every model has been tried
            except ServingError:
                time.sleep(0.05)
                continue
            self.check_alive()  # whoever answers at this address: our own server lives
            if failed := [state for state in states if not state.ready]:
                raise ServingError(_failures(failed))
            return
        raise ServingError(f"the server was not ready after {self._timeout:g} s: {self._last_error()}")

    def _stop(self) -> None:
        if self._process is None:
            return
        # A stub that is killed or loses its server leaves its shared memory behind; in an orderly end it is removed.
        shared = processes.shared_memory(processes.members(self.pid))
        try:
            processes.terminate(self._process, STOP_SECONDS)
        finally:  # also when a second Ctrl-C interrupts the wait
            shared |= processes.shared_memory(processes.members(self.pid))
            processes.kill_group(self._process)
            for file in shared:
                file.unlink(missing_ok=True)

    def _log_text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _last_error(self) -> str:
        """Triton's last error line, for a message of one line; the log has the rest."""
        errors = re.findall(r"^(?:E\d{4} .*?\] |error: )(.*)$", self._log_text(), re.MULTILINE)
        return f"{errors[-1] if errors else 'no error in its log'} (log: {self._log})"


def check_repository(repository: Path) -> list[str]:
    """The models in a repository, by name; `ServingError` with the command that makes some where there are none."""
    models = sorted(e.name for e in repository.iterdir() if e.is_dir()) if repository.is_dir() else []
    if not models:
        what = "is empty" if repository.is_dir() else "does not exist"
        raise ServingError(f"the model repository {repository} {what}: publish a model with `conch export MODEL`")
    return models


def _failures(failed: list[ModelState]) -> str:
    """One line that names each model that failed and why, as Triton says."""
    return "; ".join(f"model '{s.name}' version {s.version} failed to load: {_reason(s.reason)}" for s in failed)


def _reason(text: str) -> str:
    """A reason in one line, without the place in the backend's source that Triton's Python backend adds."""
    return " ".join(text.partition("\n\nAt:")[0].removeprefix("Internal: TritonModelException: ").split())


def _reachable(host: str) -> str:
    """An address a client on this machine can connect to."""
    return LOOPBACK if host == "0.0.0.0" else host
