"""`conch guard`: what stands in front of a Triton that somebody else has started, as a container beside it."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import tyro

from conch.command_line import OUT
from conch.contracts.artifacts import models_folder
from serving.commands.durations import seconds_of
from serving.commands.guard_flags import AccessFlags
from serving.commands.run import run
from serving.guard.configuration import Places
from serving.guard.guard import Guard
from serving.monitoring.health import Health
from serving.monitoring.metrics import SupervisorMetrics
from serving.monitoring.page import HEALTH_PATH, metrics_page, public_door, watching
from serving.repository.folder import check_repository
from serving.server.events import LogFormat, emit, listening, writer
from serving.server.interruption import Interrupted, interruptible
from serving.server.server import LOOPBACK

LOOK_SECONDS = 1.0


def guard(
    triton_http: str = f"{LOOPBACK}:8000",
    triton_grpc: str = f"{LOOPBACK}:8001",
    triton_metrics: str = f"{LOOPBACK}:8002",
    host: str = LOOPBACK,
    http_port: int = 8443,
    grpc_port: int = 8444,
    metrics_port: int = 8445,
    page_port: int = 8003,
    repository: Path | None = None,
    probe: str = "10s",
    log_format: LogFormat = "text",
    access: tyro.conf.OmitArgPrefixes[AccessFlags] = AccessFlags(),  # noqa: B008  # frozen
) -> int:
    """Put a guard in front of a Triton that somebody else starts: NVIDIA's container beside it, or in the same pod.

    It does for that server what `conch serve --guard --probe` does for its own, but start it: lets in whom it should,
    filters what is asked, sends golden requests of the repository, and tells what comes back on a page of its own, for
    Prometheus under /metrics, and under /health for what starts and stops servers: status 200 where each model answers
    its golden requests, else 503.

    For example: conch guard --host 0.0.0.0 --certificate server.pem --key server.key --token-file tokens

    Args:
        triton_http: Triton's own KServe v2 over HTTP, host:port. Nobody else should reach it.
        triton_grpc: The same over gRPC.
        triton_metrics: Triton's Prometheus metrics.
        host: The address to bind to.
        http_port: The port for clients over HTTP; 0 picks a free one.
        grpc_port: The port for clients over gRPC.
        metrics_port: The port at which Triton's metrics are passed on.
        page_port: The port of what this command itself knows: health, and the supervisor's metrics.
        repository: The model repository that the server serves, with its golden answers. Default: artifacts/models.
        probe: Ask each model one golden request this often: 10s, 1m.
        log_format: text for a person, or json: one object a line, on standard error.
        access: Who is let in, and how much he may ask.
    """
    repository = repository or models_folder()
    wanted = {"HTTP": http_port, "gRPC": grpc_port, "metrics": metrics_port}
    with listening(writer(log_format, OUT)):
        every = seconds_of("--probe", probe)
        check_repository(repository)
        limits, allowed = access.checked(host)
        metrics, health = SupervisorMetrics(), Health()
        with interruptible(), contextlib.ExitStack() as stack:
            page = stack.enter_context(metrics_page(metrics, page_port, health, host, flag="--page-port"))
            behind = Places(triton_http, triton_grpc, triton_metrics)
            front = stack.enter_context(Guard(behind, host, wanted, limits, allowed)).addresses
            door = public_door(triton_http, front, allowed)
            stack.enter_context(watching(repository, triton_http, door, metrics, every, health))
            emit(
                "guard_ready", f"the guard is at {front['http']} and {front['grpc']}, its page at http://{page}"
                f"{HEALTH_PATH}; Ctrl-C stops it", page=page, guard=front,
            )  # fmt: skip
            try:
                while True:
                    time.sleep(LOOK_SECONDS)
            except Interrupted:  # it was asked to end, and does
                return 0


def main(words: Sequence[str]) -> int:
    """Run `conch guard` with these words; the exit code."""
    return run(lambda: tyro.cli(guard, prog="conch guard", args=words))
