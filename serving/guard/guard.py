"""The guard of a running server: nginx and the filter, started, watched, started again, and ended with it."""

import contextlib
import grp
import os
import pwd
import queue
import resource
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from conch.contracts.artifacts import artifacts_folder
from serving.errors import ServingError
from serving.guard.access import Access, check_certificates
from serving.guard.configuration import Places, render, token_lines
from serving.guard.filter import FilterPlaces
from serving.guard.limits import Limits
from serving.guard.part import Part, reachable
from serving.server import ports
from serving.server.server import Server
from serving.server.server_folder import server_folder

PROGRAM = "nginx"
WHERE = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
"""Debian puts it where the path of an ordinary user does not lead."""
USERS = ("www-data", "nginx", "nobody")
LOOK_SECONDS = 0.1
MAX_FILES = 4096
NICE = 10
"""Of the process that reads large requests: it leaves the cores to the others."""
SOCKET_PATH = 107
"""Bytes that Linux allows for the path of a Unix socket, unix(7)."""


def find_nginx() -> str:
    """The program.

    Raises:
        ServingError: There is none, with the package that has it.
    """
    if found := shutil.which(PROGRAM, path=os.pathsep.join([os.environ.get("PATH", ""), WHERE])):
        return found
    raise ServingError(
        "the guard needs nginx, which is not installed: apt-get install nginx (elsewhere, too, the package is called "
        "nginx), or serve on loopback without --guard"
    )


class Guard:
    """nginx in front of a server, within a `with` block.

    Args:
        server: What runs behind it, or where that is.
        host: The address that nginx binds to.
        wanted: Its ports by service, "HTTP", "gRPC" and "metrics"; 0 picks a free one.
        limits: What callers may ask.
        access: Which callers.
        log_file: Where nginx's and the filter's complaints go; the default is beside the server's own log.
        workers: Processes of the filter, beside the one for large requests.
    """

    def __init__(
        self,
        server: Server | Places,
        host: str,
        wanted: dict[str, int],
        limits: Limits,
        access: Access,
        *,
        log_file: Path | None = None,
        workers: int | None = None,
    ) -> None:
        self._triton = Places(server.http, server.grpc, server.metrics)
        self._host, self._wanted = host, wanted
        self._limits, self._access = limits, access
        self._log_file = log_file or artifacts_folder() / "server" / "guard.log"
        self._workers = workers or max(1, min(4, (os.cpu_count() or 1) // 2))
        self._parts: list[Part] = []
        self._listen: Places
        self._ending = threading.Event()
        self._stack = contextlib.ExitStack()

    @property
    def tls(self) -> bool:
        """Whether callers have to speak TLS."""
        return self._access.certificate is not None

    @property
    def places(self) -> Places:
        """Where nginx listens."""
        return self._listen

    @property
    def addresses(self) -> dict[str, str]:
        """Where clients find it, as `clients.connect` takes it: "http", "grpc", "metrics"."""
        s, listen = "s" if self.tls else "", self._listen
        return {
            "http": f"http{s}://{reachable(listen.http)}",
            "grpc": f"grpc{s}://{reachable(listen.grpc)}",
            "metrics": f"http{s}://{reachable(listen.metrics)}/metrics",
        }

    @property
    def pids(self) -> dict[str, int]:
        """The processes of its parts, by name."""
        return {part.name: part.process.pid for part in self._parts if part.process}

    def __enter__(self) -> Self:
        """Start, and wait until callers are answered.

        Raises:
            ServingError: nginx is missing, a port is taken, a file cannot be used, or a part ends at once.
        """
        check_certificates(self._access)
        program = find_nginx()
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(server_folder())
            folder.chmod(0o711)  # nginx's workers, another user's, reach the sockets in it
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            self._log_file.write_bytes(b"")
            self._lay_out(program, folder)
            started: queue.Queue[Exception | None] = queue.Queue()
            thread = threading.Thread(target=self._watch, args=[started], name="guard", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._ending.set)
            if error := started.get():
                raise error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _lay_out(self, program: str, folder: Path) -> None:
        found = ports.reserve(self._host, self._wanted)
        self._listen = Places(*(f"{self._host}:{found[service]}" for service in ("HTTP", "gRPC", "metrics")))
        tokens = folder / "tokens.map"
        _write_secret(tokens, token_lines(self._access))
        filters = [
            FilterPlaces(folder / f"check-{n}", folder / f"hop-{n}", self._triton.grpc)
            for n in range(self._workers + 1)
        ]
        if len(os.fsencode(filters[-1].http)) > SOCKET_PATH:
            raise ServingError(f"{folder} is too long for a Unix socket in it: set TMPDIR to a shorter path")
        configuration = folder / "nginx.conf"
        text = render(
            self._listen, self._triton, filters, folder, self._limits, _absolute(self._access),
            error_log="stderr", tokens_file=tokens, user=_worker_user(), files=_descriptors(),
        )  # fmt: skip
        _write_secret(configuration, text)
        for number, places in enumerate(filters):
            sockets = [str(places.http), str(places.grpc)]
            large = places is filters[-1]
            command = _filter_command(places, self._limits, self._access.opened, NICE if large else 0)
            self._parts.append(
                Part("filter of large requests" if large else f"filter {number}", command, self._log_file, sockets)
            )
        command = [program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
        listening = [self._listen.http, self._listen.grpc, self._listen.metrics]
        self._parts.append(Part(PROGRAM, command, self._log_file, listening))

    def _watch(self, started: "queue.Queue[Exception | None]") -> None:
        """In a thread of its own, to which the parts are tied: they end when it does, and with the whole process."""
        try:
            try:
                for part in self._parts:
                    part.start()
                for part in self._parts:
                    part.await_ready()
            except Exception as error:
                started.put(error)
                return
            started.put(None)
            while not self._ending.wait(LOOK_SECONDS):
                for part in self._parts:
                    part.look()
        finally:
            for part in reversed(self._parts):
                part.stop()


def _filter_command(places: FilterPlaces, limits: Limits, opened: tuple[str, ...], nice: int) -> list[str]:
    command = [sys.executable, "-m", "serving.guard", "--http", str(places.http), "--grpc", str(places.grpc)]
    command += ["--triton", places.triton, "--max-body", str(limits.body), "--max-json", str(limits.json)]
    command += ["--max-requests", str(limits.requests), "--nice", str(nice)]
    return [*command, "--open", *opened] if opened else command


def _write_secret(file: Path, text: str) -> None:
    """A file that its owner alone can read, from the first moment on."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)


def _absolute(access: Access) -> Access:
    """nginx looks for relative paths elsewhere."""
    return replace(
        access,
        certificate=access.certificate and access.certificate.resolve(),
        key=access.key and access.key.resolve(),
        client_ca=access.client_ca and access.client_ca.resolve(),
    )


def _worker_user() -> str:
    """Who reads what strangers send, where this process is root: somebody else."""
    if os.geteuid() != 0:
        return ""
    for name in USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return f"{name} {grp.getgrgid(user.pw_gid).gr_name}"
    return "root root"


def _descriptors() -> int:
    """How many nginx may have: its workers raise their limit by themselves, up to the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MAX_FILES if hard == resource.RLIM_INFINITY else max(128, min(hard, MAX_FILES))
