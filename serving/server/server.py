"""A Triton server over a model repository, from start to clean stop."""

import contextlib
import logging
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from serving.errors import ServingError
from serving.kserve.endpoint import ModelState, model_states
from serving.repository.folder import check_repository
from serving.server import last_words, ports, processes, tritonserver
from serving.server.arguments import arguments
from serving.server.explaining import explained
from serving.server.linked_models import link_models, take_out
from serving.server.model_options import ONLY_OURS, model_options
from serving.server.model_views import mark_all, view_live
from serving.server.not_loaded import failures, not_loaded, own_words, whole, with_reasons
from serving.server.server_folder import server_folder
from serving.server.stub_watch import StubWatch
from serving.server.stubs import Death, Stubs

LOOPBACK = "127.0.0.1"
# Triton looks once a second whether its models are unloaded; three seconds is usual with a few models.
STOP_SECONDS = 20.0
RECENT_SECONDS = 10.0
"""A process of a model that died within these before the server did may have to do with it."""
# A model that has lost a process under a request never counts as unloaded: Triton waits for it until its time is up.
QUIET_SECONDS = 1.5
# What it waits for when every process of its models has ended are connections that somebody keeps open.
GONE_SECONDS = 3.0
ANSWERED = "All models are stopped, unloading models"
"""What Triton's log says once no request is under way any more."""
# The answers are on their way then. What it does after that, in 3 to 6 s, is to take its models apart.
ANSWERED_SECONDS = 0.5
ATTEMPTS = 3
TAKEN = "already in use"
"""What Triton's log says of a port that somebody else holds."""

log = logging.getLogger(__name__)


class _Stuck(Exception):
    """Triton waits for ever for the process of a model that has died."""

    def __init__(self, death: Death) -> None:
        super().__init__(str(death))
        self.death = death


class Server:
    """A `tritonserver` that serves the models of `repository` within a `with` block.

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
        exit_on_error: Whether a model that does not load keeps the others from being served, as Triton's option of this
            name; without it `not_loaded` tells of them.
        log_file: Where Triton's log goes; None puts it beside the temporary files, and it is gone afterwards.
        on_progress: Called with the number of models loaded so far and the number in the repository.
        on_loss: Called with a line for each process of a model that dies while the others are served.
        reloadable: Whether a supervisor is to load a model anew that has lost a process. Then the server sees the
            versions that there are now; else also what is published later.
        options: More options of `tritonserver`, as on its command line.
        resources: Units of what the rate limits of models share, by name; of others as many as an instance needs.

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
        exit_on_error: bool = True,
        log_file: Path | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        on_loss: Callable[[str], None] | None = None,
        reloadable: bool = False,
        options: Sequence[str] = (),
        resources: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.repository = repository
        self._host = host
        self._wanted = {"HTTP": http_port, "gRPC": grpc_port, "metrics": metrics_port}
        self._program = program
        self._timeout = timeout
        self._exit_on_error = exit_on_error
        self._log_file = log_file
        self._on_progress = on_progress
        self._on_loss = on_loss
        self._reloadable = reloadable
        self._options = options
        self._resources = resources
        self._addresses: dict[str, str] = {}
        self._only_ours = False
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: StubWatch
        self._installation: tritonserver.Installation
        self._folder: Path
        self._log: Path
        self._models: Path
        self._left_out: dict[str, str] = {}
        self.not_loaded: list[ModelState] = []
        """The versions, or whole models, that are not served, each with the reason."""

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
    def models(self) -> Path:
        """What Triton takes for the repository: links to the models, or to those of their versions that are served."""
        return self._models

    @property
    def pid(self) -> int:
        """The server's process number, which is its process group's as well."""
        assert self._process is not None, "the server is not started"
        return self._process.pid

    def states(self) -> list[ModelState]:
        """Every version of every model: what the server says, and what it was started without."""
        return with_reasons(model_states(self.http), self.not_loaded)

    @property
    def watch(self) -> StubWatch:
        """What looks after the processes of the models."""
        return self._watch

    def check_alive(self) -> None:
        """Raise a `ServingError` when the server has ended by itself; tell of processes of models that have died."""
        deaths = self._watch.deaths()
        self.check_process()
        for death in deaths:
            if self._on_loss:
                self._on_loss(f"{death}: its share of requests fails until the server is started again ({self._log})")

    def kill(self) -> None:
        """End the server at once, where it has not ended."""
        if self._process is not None:
            processes.kill_group(self._process)

    def restart(self) -> None:
        """Serve again at the same addresses after the server has ended; its log is kept beside the new one.

        Raises:
            ServingError: It does not start, as in `__enter__`.
        """
        self._stop()
        if self._log.exists():
            self._log.replace(self._log.with_suffix(f".before{self._log.suffix}"))
        self._wanted = {service: int(place.rpartition(":")[2]) for service, place in self._addresses.items()}
        self._bring_up()

    def check_process(self) -> None:
        """Raise a `ServingError` when the server has ended by itself, with its last words."""
        if self._process is None or self._process.poll() is not None:
            raise ServingError(f"tritonserver {self._end()}")

    def __enter__(self) -> Self:
        """Start and wait until every model is ready.

        Raises:
            ServingError: No tritonserver, no models, a taken port, a model that fails to load (without `exit_on_error`
                only where none is left), or no time left.
        """
        check_repository(self.repository)
        with contextlib.ExitStack() as stack:  # undone in reverse if anything below fails
            folder = stack.enter_context(server_folder())
            self._folder = folder
            self._installation = tritonserver.install(tritonserver.find_program(self._program), folder)
            self._log = self._log_file or folder / "triton.log"
            self._models = folder / "models"
            self._leave_out(link_models(self.repository, self._models))
            view_live(self._models, self.repository)
            if self._reloadable:
                mark_all(self._models, self.repository)
            stack.callback(self._stop)
            self._bring_up()
            self._stack = stack.pop_all()
        return self

    def _bring_up(self) -> None:
        attempts = 0
        while True:
            try:
                self._start(ports.reserve(self._host, self._wanted))
                self._await_ready()
                return
            except _Stuck as stuck:
                reason = own_words(stuck.death, self._log_text(), self._watch.stubs.deaths)
                self._leave_out({stuck.death.model: reason})
            except ServingError:
                # A free port that was picked is released before Triton binds it, and may be somebody's by then.
                attempts += 1
                if attempts == ATTEMPTS or 0 not in self._wanted.values() or TAKEN not in self._log_text():
                    raise
            self._stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, found: dict[str, int]) -> None:
        self._addresses = {service: f"{_reachable(self._host)}:{port}" for service, port in found.items()}
        options = [*model_options(self._models, self._resources), *self._options]
        self._only_ours = ONLY_OURS in options
        command = [
            str(self._installation.program),
            f"--backend-directory={self._installation.backends}",
            # A model that fails is reported by name below; a server that exits first could not be asked for the reason.
            *arguments(str(self._models), self._host, found, options, exit_on_error=False),
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
                cwd=self._folder,  # the stub's Python imports from where it runs: an empty place
                env=self._installation.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._watch = StubWatch(Stubs(self.pid, self._models))
        self._watch.start()

    def _await_ready(self) -> None:
        models = sum(entry.is_dir() for entry in self._models.iterdir())
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if self._on_progress:
                self._on_progress(min(self._log_text().count('"successfully loaded '), models), models)
            for death in self._watch.deaths():
                if death.completing:
                    raise _Stuck(death)
            if unseen := self._watch.unseen(last_words.unfinished(self._log_text())):
                raise _Stuck(unseen)
            self.check_process()
            try:
                states = model_states(self.http, timeout=1.0)  # it answers as soon as every model has been tried
            except ServingError:
                time.sleep(0.05)
                continue
            self.check_process()  # whoever answers at this address: our own server lives
            found = not_loaded(states, self._left_out, self._log_text(), self._watch.stubs.deaths)
            # With the paths as whoever started the server knows them.
            found = [
                replace(state, reason=state.reason.replace(str(self._models), str(self.repository.resolve())))
                for state in found
            ]
            self.not_loaded = explained(found, self.repository)
            self._fail_if_too_many(self.not_loaded, ready=any(state.ready for state in states))
            return
        loading = ", ".join(last_words.unfinished(self._log_text()))
        words = last_words.fatal_words(self._log_text())
        raise ServingError(
            f"the server was not ready after {self._timeout:g} s{f', still loading {loading}' if loading else ''}"
            f"{f': {words}' if words else ''} (log: {self._log})"
        )

    def _fail_if_too_many(self, failed: list[ModelState], ready: bool) -> None:
        """Raise a `ServingError` where one is too many, or none is left to serve."""
        if failed and (self._exit_on_error or not ready):
            raise ServingError(failures(failed))

    def _leave_out(self, models: Mapping[str, str]) -> None:
        """Do without these models, whose reasons are given."""
        self._left_out |= models
        if models:
            take_out(self._models, models)
        self._fail_if_too_many([whole(*item) for item in self._left_out.items()], ready=any(self._models.iterdir()))

    def _stop(self) -> None:
        if self._process is None:
            return
        # A stub that is killed or loses its server leaves its shared memory behind; in an orderly end it is removed.
        shared = processes.shared_memory(processes.members(self.pid))
        try:
            self._terminate(self._process)
        finally:  # also when a second Ctrl-C interrupts the wait
            shared |= processes.shared_memory(processes.members(self.pid))
            processes.kill_group(self._process)
            self._watch.stop()
            for file in shared | self._watch.stubs.regions:
                file.unlink(missing_ok=True)

    def _terminate(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM, and a while to end in: as long as it does something, where it would wait for what never ends."""
        process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        served = answering = time.monotonic()
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                return
            if not self._has_answered():
                answering = time.monotonic()
            if time.monotonic() - answering > ANSWERED_SECONDS:
                return
            stubs = self._watch.stubs
            if stubs.living or not stubs.regions:  # without any it is a server with another backend
                served = time.monotonic()
            if time.monotonic() - served > GONE_SECONDS or (stubs.deaths and self._watch.quiet(QUIET_SECONDS)):
                return

    def _has_answered(self) -> bool:
        """Whether nobody waits for it. Models of other backends than the kit's may have something to end in order."""
        if not self._only_ours or ANSWERED not in self._log_text():
            return False
        return not ports.unsent({int(address.rpartition(":")[2]) for address in self._addresses.values()})

    def _log_text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _end(self) -> str:
        """How the server ended, for a message of one line; the log has the rest."""
        code = self._process.returncode if self._process else 0
        recent = time.monotonic() - RECENT_SECONDS
        deaths = [death for death in self._watch.stubs.deaths.values() if death.at > recent]
        before = "".join(f"; before that {death}" for death in deaths)
        return f"{last_words.server_end(code, self._log_text(), self._watch.stubs.starved)}{before} (log: {self._log})"


def _reachable(host: str) -> str:
    """An address a client on this machine can connect to."""
    return LOOPBACK if host == "0.0.0.0" else host
