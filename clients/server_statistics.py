"""What a server has counted of each model, and what happened between two such counts.

Sources: Triton's statistics extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md, and its metrics.
"""

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.access import Door
from clients.errors import DeadlineExceeded, Refused, Unreachable

ModelVersion = tuple[str, str]

PENDING = re.compile(r'^nv_inference_pending_request_count\{model="([^"]*)",version="([^"]*)"\} (\S+)', re.MULTILINE)
PROVIDER = re.compile(r"^conch_execution_provider\{(.*)\} 1$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Counters:
    """Of one model version since it was loaded; times are sums in nanoseconds."""

    requests: int = 0
    failures: int = 0
    latency_ns: int = 0
    queued: int = 0
    queue_ns: int = 0
    runs: Mapping[int, int] = field(default_factory=dict)
    """How many runs there were of each batch size."""

    def since(self, before: "Counters") -> "Counters":
        """What was counted after `before`; all of it where the model was loaded anew in between."""
        if self.requests < before.requests or self.failures < before.failures:
            return self
        runs = {size: count - before.runs.get(size, 0) for size, count in self.runs.items()}
        return Counters(
            self.requests - before.requests,
            self.failures - before.failures,
            self.latency_ns - before.latency_ns,
            self.queued - before.queued,
            self.queue_ns - before.queue_ns,
            {size: count for size, count in sorted(runs.items()) if count > 0},
        )

    @property
    def latency_ms(self) -> float | None:
        """The mean of the requests that were answered, from the server's first sight of them to its answer."""
        return self.latency_ns / self.requests / 1e6 if self.requests else None

    @property
    def queue_ms(self) -> float | None:
        """The mean time that requests waited for their run."""
        return self.queue_ns / self.queued / 1e6 if self.queued else None


def parse_counters(document: Mapping[str, Any]) -> dict[ModelVersion, Counters]:
    """From the extension's answer, in which gRPC's JSON writes numbers as text and may leave out what is 0."""
    return {(entry["name"], entry.get("version", "")): _counters(entry) for entry in document.get("model_stats", [])}


def read_pending(metrics: Door, timeout: float) -> dict[ModelVersion, int]:
    """How many requests wait for a run at this moment, by the server's metrics. Raises Unreachable and Refused."""
    text = _get(metrics, "/metrics", timeout).decode(errors="replace")
    return {(model, version): int(float(value)) for model, version, value in PENDING.findall(text)}


def read_providers(metrics: Door, timeout: float) -> dict[ModelVersion, str]:
    """ONNX Runtime's execution providers that each version really has, as "CPU" or "CUDA, CPU", by the metrics.

    Conch's backend tells, NVIDIA's does not. Raises Unreachable and Refused.
    """
    found: dict[ModelVersion, set[str]] = {}
    for said in PROVIDER.findall(_get(metrics, "/metrics", timeout).decode(errors="replace")):
        labels = dict(LABEL.findall(said))
        provider = labels.get("provider", "?").removesuffix("ExecutionProvider")
        found.setdefault((labels.get("model", ""), labels.get("version", "")), set()).add(provider)
    return {version: ", ".join(sorted(providers)) for version, providers in found.items()}


def _get(door: Door, path: str, timeout: float) -> bytes:
    address, context = door.address, door.context
    host, slash, base = address.target.partition("/")
    connection = (
        http.client.HTTPSConnection(host, timeout=timeout, context=context)
        if context
        else http.client.HTTPConnection(host, timeout=timeout)
    )
    try:
        connection.request("GET", slash + base + path, headers=dict(door.headers()))
        response = connection.getresponse()
        body = response.read()
    except TimeoutError as error:
        raise DeadlineExceeded(f"no answer from {address} within {timeout:g} s") from error
    except OSError as error:
        raise Unreachable(f"no server at {address} ({error.strerror or error})") from error
    except http.client.HTTPException as error:
        raise Unreachable(f"what answers at {address} does not speak HTTP") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Refused(f"{address}{path} answers {response.status} {response.reason}", str(response.status))
    return body


def _counters(entry: Mapping[str, Any]) -> Counters:
    stats = entry.get("inference_stats", {})

    def number(kind: str, what: str) -> int:
        return int(stats.get(kind, {}).get(what, 0))

    return Counters(
        number("success", "count"),
        number("fail", "count"),
        number("success", "ns"),
        number("queue", "count"),
        number("queue", "ns"),
        {int(batch["batch_size"]): _runs(batch) for batch in entry.get("batch_stats", [])},
    )


def _runs(batch: Mapping[str, Any]) -> int:
    return int(batch.get("compute_infer", {}).get("count", 0))
