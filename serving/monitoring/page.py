"""The supervisor's metrics on a port of their own, and the thread that keeps them true."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path

from prometheus_client import MetricsHandler, disable_created_metrics
from prometheus_client.parser import text_string_to_metric_families

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.promises import Promise, promise_files, read_promises
from serving.errors import ServingError
from serving.guard.access import Access
from serving.kserve.endpoint import ControlClient
from serving.monitoring.health import Health
from serving.monitoring.metrics import SupervisorMetrics
from serving.monitoring.monitor import Monitor
from serving.monitoring.question import Door
from serving.server.events import emit, listening

LOOPBACK = "127.0.0.1"
PAGE_VARIABLE = "CONCH_SUPERVISOR_METRICS"
"""In the environment of a command that `conch serve` runs: "host:port" of this page."""
FLAG = "--supervisor-metrics-port"
HEALTH_PATH = "/health"
"""200 where requests can be sent here, else 503; the body is an object with the reason by model."""
INTERVAL_SECONDS = 10.0
"""Between two looks, where nobody asks for probes."""
JOIN_SECONDS = 10.0
PAGE_SECONDS = 2.0
STATE = "conch_probe_state"


@contextlib.contextmanager
def metrics_page(
    metrics: SupervisorMetrics, port: int, health: Health | None = None, host: str = LOOPBACK, flag: str = FLAG
) -> Iterator[str]:
    """Serve `metrics` within the block, and `health` beside them, and have them count events; yields "host:port".

    A page of its own: Triton's is gone as long as Triton is, and its backends could not tell of their own end.

    Raises:
        ServingError: The port cannot be used.
    """
    disable_created_metrics()  # a series more for each counter, which Prometheus does not need
    judged = health or Health()

    class Page(MetricsHandler):
        registry = metrics.registry

        def do_GET(self) -> None:
            if self.path != HEALTH_PATH:
                super().do_GET()
                return
            faults = judged.faults
            body = json.dumps({"faults": faults}).encode()
            self.send_response(503 if faults else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    try:
        server = ThreadingHTTPServer((host, port), Page)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is no port"
        raise ServingError(
            f"port {port} for the supervisor's metrics cannot be used ({reason}): choose another with {flag} "
            "(0 picks a free one)"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        with listening(metrics.heard):
            yield f"{LOOPBACK if host == '0.0.0.0' else host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(JOIN_SECONDS)


def public_door(http: str, guard: Mapping[str, str] | None, access: Access | None) -> Door:
    """The way that clients come: through the guard, where there is one. Where it asks callers for a certificate,
    requests go past it, and it is only seen whether it answers.

    Args:
        http: Triton's own HTTP service, "host:port".
        guard: The guard's addresses, "http" among them.
        access: Whom it lets in.
    """
    if guard is None or access is None:
        return Door(f"http://{http}")
    if access.client_ca is not None:
        return Door(f"http://{http}", certificate=access.certificate, front=guard["http"])
    headers = {"Authorization": f"Bearer {access.tokens[0]}"} if access.tokens else {}
    return Door(guard["http"], headers, access.certificate, front=guard["http"])


def last_answers(address: str) -> dict[str, str]:
    """Model -> how its last golden request was answered, by the page at "host:port"; empty where nobody probes.

    Nothing is raised: what asks for it can do without.
    """
    try:
        with ControlClient(address, PAGE_SECONDS) as client:
            families = list(text_string_to_metric_families(client.metrics()))
    except (ServingError, ValueError):
        return {}
    samples = (sample for family in families for sample in family.samples if sample.name == STATE)
    return {sample.labels["model"]: sample.labels[STATE] for sample in samples if sample.value == 1}


@contextlib.contextmanager
def watching(
    repository: Path,
    control: str,
    door: Door,
    metrics: SupervisorMetrics,
    probe_seconds: float | None,
    health: Health | None = None,
    on_unwell: Callable[[str, str], None] | None = None,
) -> Iterator[None]:
    """Look at the server at `control` within the block, and send golden requests every `probe_seconds` where given.

    `health` and `on_unwell` are those of `Monitor`.
    """
    monitor = Monitor(
        repository, control, door, metrics, _promises(), probe_seconds or INTERVAL_SECONDS, probe_seconds is not None,
        health, on_unwell,
    )  # fmt: skip
    thread = threading.Thread(target=monitor.watch, name="monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        monitor.end()
        thread.join(JOIN_SECONDS)
        door.close()


def _promises() -> dict[str, Promise]:
    """By model, of the files that `conch load` reads; what is wrong with them keeps nothing from being served."""
    try:
        known = read_promises(promise_files(None, artifacts_folder()))
    except ConchError as error:
        emit("promises_unread", f"the promises cannot be read: {error}", level="warning", reason=str(error))
        return {}
    for model, wrong in known.wrong.items():
        emit("promises_unread", str(wrong), level="warning", model=model, reason=str(wrong))
    return known.promises
