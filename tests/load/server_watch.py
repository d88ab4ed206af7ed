"""The server's side of a run: where Triton says the time went, and what its processes used.

Sources: Triton's statistics extension (docs/protocol/extension_statistics.md) and its Prometheus metrics
(docs/user_guide/metrics.md), both of triton-inference-server/server. What is not there is left out.
"""

import contextlib
import json
import re
import urllib.request
from typing import Any

import gevent
import psutil

from tests.load.clock import now

PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
SAMPLE_S = 1.0
TIMEOUT_S = 3.0
_METRIC = re.compile(r"^(nv_\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
# Of the whole machine, as Triton sees it.
_MACHINE = {"nv_cpu_utilization": "machine_cpu", "nv_gpu_utilization": "gpu", "nv_gpu_memory_used_bytes": "gpu_bytes"}


class ServerWatch:
    """Statistics before and after, and a sample of the processes and metrics every second in between."""

    def __init__(self, http: str, metrics: str, model: str, version: str) -> None:
        self._http, self._metrics, self._model = http, metrics, model
        self._statistics_url = f"http://{http}/v2/models/{model}/versions/{version}/stats"
        self._processes = server_processes(http)
        self._before: dict[str, Any] | None = None
        self._after: dict[str, Any] | None = None
        self._cpu: float | None = None
        self.samples: list[dict[str, float]] = []

    def watch(self, warmup: float, duration: float) -> None:
        """Run as a greenlet from the start of the load."""
        gevent.sleep(warmup)
        begun = now()
        self._before = self._statistics()
        self._sample(0.0, None)
        while (gone := now() - begun) < duration:
            gevent.sleep(min(SAMPLE_S, duration - gone))
            self._sample(now() - begun, self.samples[-1])

    def finish(self) -> None:
        """After the last answer."""
        self._after = self._statistics()

    def split(self, service_mean_ms: float | None) -> dict[str, Any] | None:
        """Mean ms of a request in each place, what was executed, and the cache; None where the server told nothing.

        `network_and_client` is what the service time has beyond Triton's own total. Requests on their way at the two
        moments of asking are counted on one side only, which is little of many.
        """
        if self._before is None or self._after is None:
            return None
        before, after = self._before["inference_stats"], self._after["inference_stats"]

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
        executions = self._after["execution_count"] - self._before["execution_count"]
        return {
            "mean_ms": {part: round(value, 4) for part, value in mean.items()},
            "requests": requests,
            "failed": delta("fail", "count"),
            "executions": executions,
            "items": self._after["inference_count"] - self._before["inference_count"],
            "batches": _batches(self._before, self._after),
            "cache": {"hits": delta("cache_hit", "count"), "misses": delta("cache_miss", "count")},
        }

    def _sample(self, second: float, before: dict[str, float] | None) -> None:
        sample: dict[str, float] = {"t": round(second, 3)}
        cpu, memory = 0.0, 0
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
        values: dict[str, float] = {}
        for name, labels, number in _METRIC.findall(text or ""):
            if name in _MACHINE:
                values[_MACHINE[name]] = values.get(_MACHINE[name], 0.0) + float(number)
            elif name == "nv_inference_pending_request_count" and f'model="{self._model}"' in labels:
                values["pending"] = values.get("pending", 0.0) + float(number)
        return values

    def _statistics(self) -> dict[str, Any] | None:
        text = _get(self._statistics_url)
        try:
            statistics: dict[str, Any] = json.loads(text or "")["model_stats"][0]
        except (ValueError, LookupError):
            return None
        return statistics


def server_processes(http: str) -> list[psutil.Process]:
    """The process that listens at this host:port on this machine, and its children; none when it is elsewhere."""
    host, _, port = http.rpartition(":")
    if host not in ("localhost", "127.0.0.1", "[::1]"):
        return []
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid is not None
            if listens and connection.laddr.port == int(port):
                found = psutil.Process(connection.pid)
                return [found, *found.children(recursive=True)]
    return []


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
