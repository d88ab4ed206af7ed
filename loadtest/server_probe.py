"""Looks at a server from a process of its own, so that looking never keeps a request from being sent.

    conch load.server_probe '{"http": "http://localhost:8000", "metrics": "", "versions": {"cnn": "1"}}'

The environment says how the server lets it in (`clients.access`), for its words can be seen by others.

Reads `{"begin": moment, "duration": seconds}` (the moment in seconds of `time.perf_counter`, which all processes of a
Linux machine share), and any line, or the end of its input, when the last answer has come. Writes a line of JSON for
the statistics at the beginning, for each sample and for the statistics at the end.

Sources: Triton's statistics extension (docs/protocol/extension_statistics.md) and its Prometheus metrics
(docs/user_guide/metrics.md), both of triton-inference-server/server. What is not there is left out.
"""

import contextlib
import json
import os
import re
import select
import signal
import socket
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import psutil

from clients.access import Access, Door
from clients.address import is_loopback, resolve
from clients.errors import ClientError

SAMPLE_S, LEAST_SAMPLE_S = 1.0, 0.1
SAMPLES = 80  # at least, where the run is long enough for it
LOOK_AGAIN = 10  # samples from one look for the server's child processes to the next
TIMEOUT_S = 3.0
NICENESS = 10  # who shares a core with the load generator steps back
_METRIC = re.compile(r"^(nv_\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
_MODEL = re.compile(r'model="([^"]*)"')
# Of the whole machine, as Triton sees it.
_MACHINE = {
    "nv_cpu_utilization": "machine_cpu",
    "nv_cpu_memory_used_bytes": "machine_bytes",
    "nv_gpu_utilization": "gpu",
    "nv_gpu_memory_used_bytes": "gpu_bytes",
}


class Probe:
    """What can be seen of one server."""

    def __init__(self, http: str, metrics: str, versions: Mapping[str, str], access: Access) -> None:
        """`http` and `metrics` are addresses as http://host:port, `metrics` may be empty; `versions` has that of each
        model that is asked. Raises ClientError for what `access` names and cannot be used."""
        server = resolve(http)
        self._http = access.door(server)
        self._metrics = access.metrics_door(resolve(metrics), server) if metrics else None
        self._versions = versions
        self._server = server_process(*server.host_port)
        self._processes: list[psutil.Process] = []
        self._cpu: float | None = None
        self._taken = 0

    def sees_memory(self) -> bool:
        """Whether there is any memory to be watched."""
        return self._server is not None or "machine_bytes" in self._metric_values()

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Triton's statistics by model."""
        found = {}
        for model, version in self._versions.items():
            text = _get(self._http, f"/v2/models/{urllib.parse.quote(model, safe='')}/versions/{version}/stats")
            with contextlib.suppress(ValueError, LookupError):
                found[model] = json.loads(text or "")["model_stats"][0]
        return found

    def sample(self, second: float, before: dict[str, float] | None) -> dict[str, float]:
        """What its processes and its machine use now, `second` seconds after the beginning."""
        sample: dict[str, float] = {"t": round(second, 3)}
        cpu, memory = 0.0, 0
        if self._server is not None and self._taken % LOOK_AGAIN == 0:
            with contextlib.suppress(psutil.Error):  # models are loaded and their processes restarted meanwhile
                self._processes = [self._server, *self._server.children(recursive=True)]
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                cpu += times.user + times.system
                memory += process.memory_info().rss
        if self._processes:
            sample["rss_bytes"] = memory
            if before is not None and self._cpu is not None and second > before["t"]:
                sample["cores"] = round((cpu - self._cpu) / (second - before["t"]), 3)
            self._cpu = cpu
        self._taken += 1
        return sample | self._metric_values()

    def _metric_values(self) -> dict[str, float]:
        text = _get(self._metrics, "/metrics") if self._metrics else None
        return metric_values(text or "", set(self._versions))


def main() -> None:
    """Watch one run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the load's, whose end is the end of the input
    os.nice(NICENESS)
    asked = json.loads(sys.argv[1])
    probe = Probe(asked["http"], asked["metrics"], asked["versions"], Access(plain_text=asked["plain_text"]))
    if not (line := sys.stdin.readline()):
        return
    order = json.loads(line)
    begin, duration = float(order["begin"]), float(order["duration"])
    if _told(begin - time.perf_counter()):
        return
    _write({"before": probe.statistics()})
    before = probe.sample(0.0, None)
    _write({"sample": before})
    every = max(LEAST_SAMPLE_S, min(SAMPLE_S, duration / SAMPLES))
    while (gone := time.perf_counter() - begin) < duration:
        if _told(min(every, duration - gone)):
            break
        before = probe.sample(time.perf_counter() - begin, before)
        _write({"sample": before})
    else:
        _told(None)
    _write({"after": probe.statistics()})


def _told(seconds: float | None) -> bool:
    """Wait, at most for so long; whether a line or the end of the input has come."""
    ready, _, _ = select.select([sys.stdin], [], [], None if seconds is None else max(0.0, seconds))
    return bool(ready)


def _write(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201, read by the load


def metric_values(text: str, models: set[str]) -> dict[str, float]:
    """Of Triton's metrics in Prometheus' text format, as far as there: `machine_cpu` (a share), `machine_bytes`, `gpu`
    (busy GPUs: the sum of their shares), `gpu_bytes` of all GPUs, and `pending` (requests queued for these models)."""
    values: dict[str, float] = {}
    for name, labels, number in _METRIC.findall(text):
        model = _MODEL.search(labels)
        if name in _MACHINE:
            key = _MACHINE[name]
        elif name == "nv_inference_pending_request_count" and model and model[1] in models:
            key = "pending"
        else:
            continue
        values[key] = values.get(key, 0.0) + float(number)
    return values


def server_process(host: str, port: int) -> psutil.Process | None:
    """The tritonserver that listens there; None when it is on another machine, or in a container whose
    processes are not seen from here (there the port belongs to a proxy)."""
    try:
        address = socket.gethostbyname(host) if host != "::1" else "127.0.0.1"
        own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
        if not address.startswith("127.") and address not in own:
            return None
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid is not None
            if listens and connection.laddr.port == port:
                found = psutil.Process(connection.pid)
                return found if found.name().startswith("tritonserver") else None
    except (psutil.Error, OSError, ValueError):
        return None
    return None


def _get(door: Door, path: str) -> str | None:
    # Else what the environment says.
    no_proxy: dict[str, str] | None = {} if is_loopback(door.address.target) else None
    try:
        handlers = [urllib.request.ProxyHandler(no_proxy), urllib.request.HTTPSHandler(context=door.context)]
        request = urllib.request.Request(f"{door.address}{path}", headers=dict(door.headers()))
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
    except (OSError, ValueError, ClientError):
        return None
    return text


if __name__ == "__main__":
    main()
