"""The server's side of a run: where Triton says the time went, and what its processes used.

Sources: Triton's statistics extension (docs/protocol/extension_statistics.md) and its Prometheus metrics
(docs/user_guide/metrics.md), both of triton-inference-server/server. What is not there is left out.
"""

import contextlib
import json
import re
import socket
import urllib.request
from collections.abc import Mapping
from typing import Any

import gevent
import psutil

from tests.load.clock import now

PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
SAMPLE_S, LEAST_SAMPLE_S = 1.0, 0.1
SAMPLES = 80  # at least, where the run is long enough for it
LOOK_AGAIN = 10  # samples from one look for the server's child processes to the next
TIMEOUT_S = 3.0
_METRIC = re.compile(r"^(nv_\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
_MODEL = re.compile(r'model="([^"]*)"')
# Of the whole machine, as Triton sees it.
_MACHINE = {
    "nv_cpu_utilization": "machine_cpu",
    "nv_cpu_memory_used_bytes": "machine_bytes",
    "nv_gpu_utilization": "gpu",
    "nv_gpu_memory_used_bytes": "gpu_bytes",
}


class ServerWatch:
    """Statistics before and after, and a sample of the processes and metrics every second in between."""

    def __init__(self, http: str, metrics: str, versions: Mapping[str, str]) -> None:
        """`http` and `metrics` are host:port; `versions` has that of each model that is asked."""
        self._http, self._metrics, self._versions = http, metrics, versions
        self._server = server_process(http)
        self._processes: list[psutil.Process] = []
        self._before: dict[str, dict[str, Any]] = {}
        self._after: dict[str, dict[str, Any]] = {}
        self._cpu: float | None = None
        self.samples: list[dict[str, float]] = []

    def watch(self, warmup: float, duration: float) -> None:
        """Run as a greenlet from the start of the load."""
        gevent.sleep(warmup)
        begun = now()
        self._before = self._statistics()
        self._sample(0.0, None)
        every = max(LEAST_SAMPLE_S, min(SAMPLE_S, duration / SAMPLES))
        while (gone := now() - begun) < duration:
            gevent.sleep(min(every, duration - gone))
            self._sample(now() - begun, self.samples[-1])

    def finish(self) -> None:
        """After the last answer."""
        self._after = self._statistics()

    def memory(self) -> tuple[str, list[tuple[float, float]]]:
        """(seconds, bytes) of the server's processes on this machine; without those, of the whole machine it is on, as
        its metrics tell. And in words which of them it is."""
        for key, whose in (("rss_bytes", "the server's processes"), ("machine_bytes", "the server's whole machine")):
            if found := [(sample["t"], sample[key]) for sample in self.samples if key in sample]:
                return whose, found
        return "nothing", []

    def sees_memory(self) -> bool:
        """Whether there is any memory to be watched."""
        return self._server is not None or "machine_bytes" in self._metric_values()

    def split(self, model: str, service_mean_ms: float | None) -> dict[str, Any] | None:
        """Mean ms of a request in each place, what was executed, and the cache; None where the server told nothing.

        `network_and_client` is what the service time has beyond Triton's own total. Requests on their way at the two
        moments of asking are counted on one side only, which is little of many.
        """
        if model not in self._before or model not in self._after:
            return None
        first, last = self._before[model], self._after[model]
        before, after = first["inference_stats"], last["inference_stats"]

        def delta(part: str, what: str) -> int:
            return int(after.get(part, {}).get(what, 0)) - int(before.get(part, {}).get(what, 0))

        requests = delta("success", "count")
        if requests <= 0:
            return None
        mean = {part: delta(part, "ns") / requests / 1e6 for part in PARTS}
        total = delta("success", "ns") / requests / 1e6
        mean["server_other"] = max(0.0, total - sum(mean.values()))
        if service_mean_ms is not None:
            mean["network_and_client"] = max(0.0, service_mean_ms - total)
        executions = last["execution_count"] - first["execution_count"]
        return {
            "mean_ms": {part: round(value, 4) for part, value in mean.items()},
            "requests": requests,
            "failed": delta("fail", "count"),
            "executions": executions,
            "items": last["inference_count"] - first["inference_count"],
            "batches": _batches(first, last),
            "cache": {"hits": delta("cache_hit", "count"), "misses": delta("cache_miss", "count")},
        }

    def _sample(self, second: float, before: dict[str, float] | None) -> None:
        sample: dict[str, float] = {"t": round(second, 3)}
        cpu, memory = 0.0, 0
        if self._server is not None and len(self.samples) % LOOK_AGAIN == 0:
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
        self.samples.append(sample | self._metric_values())

    def _metric_values(self) -> dict[str, float]:
        text = _get(f"http://{self._metrics}/metrics") if self._metrics else None
        return metric_values(text or "", set(self._versions))

    def _statistics(self) -> dict[str, dict[str, Any]]:
        found = {}
        for model, version in self._versions.items():
            text = _get(f"http://{self._http}/v2/models/{model}/versions/{version}/stats")
            with contextlib.suppress(ValueError, LookupError):
                found[model] = json.loads(text or "")["model_stats"][0]
        return found


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


def server_process(http: str) -> psutil.Process | None:
    """The tritonserver that listens at this host:port; None when it is on another machine, or in a container whose
    processes are not seen from here (there the port belongs to a proxy)."""
    host, _, port = http.rpartition(":")
    try:
        address = socket.gethostbyname(host.strip("[]")) if host != "[::1]" else "127.0.0.1"
        own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
        if not address.startswith("127.") and address not in own:
            return None
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid is not None
            if listens and connection.laddr.port == int(port):
                found = psutil.Process(connection.pid)
                return found if found.name().startswith("tritonserver") else None
    except (psutil.Error, OSError, ValueError):
        return None
    return None


def _batches(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """Executions by batch size."""
    counts = {entry["batch_size"]: entry["compute_infer"]["count"] for entry in after.get("batch_stats", [])}
    for entry in before.get("batch_stats", []):
        counts[entry["batch_size"]] -= entry["compute_infer"]["count"]
    return {str(size): count for size, count in sorted(counts.items()) if count > 0}


def _get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
    except (OSError, ValueError):
        return None
    return text
