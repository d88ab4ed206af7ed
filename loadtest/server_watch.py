"""The server's side of a run: where Triton says the time went, and what its processes used."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from clients.access import Access
from conch.command_line import program

PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
ANSWER_S = 10.0  # to the last statistics, which a server that hangs does not give


class ServerWatch:
    """Statistics before and after, and samples in between, taken by `loadtest.server_probe`."""

    def __init__(self, http: str, metrics: str, versions: Mapping[str, str], access: Access) -> None:
        """`http` and `metrics` are addresses as http://host:port; `versions` has that of each model that is asked."""
        self._asked = {"http": http, "metrics": metrics, "versions": dict(versions), "plain_text": access.plain_text}
        self._access = access
        self._probe: subprocess.Popen[str] | None = None
        self._before: dict[str, dict[str, Any]] = {}
        self._after: dict[str, dict[str, Any]] = {}
        self.samples: list[dict[str, float]] = []

    def start(self) -> None:
        """Start the process that looks."""
        # Not a pipe, which would be full before somebody reads it.
        self._seen = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by stop()
        self._probe = subprocess.Popen(
            program("loadtest.server_probe", json.dumps(self._asked)),
            stdin=subprocess.PIPE, stdout=self._seen, text=True, env=self._access.environment(),
        )  # fmt: skip

    def watch(self, begin: float, duration: float) -> None:
        """Look from `begin` (seconds of `clock.now`) on, for `duration` seconds."""
        assert self._probe is not None
        assert self._probe.stdin is not None
        with contextlib.suppress(OSError):  # it ended by itself: then nothing is seen, and the load is as it is
            print(json.dumps({"begin": begin, "duration": duration}), file=self._probe.stdin, flush=True)

    def finish(self) -> None:
        """After the last answer: the last statistics, and all that was seen."""
        self._end()
        self._seen.seek(0)
        for line in self._seen:
            try:
                entry = json.loads(line)
            except ValueError:  # the last one of a process that was killed
                continue
            self._before = entry.get("before", self._before)
            self._after = entry.get("after", self._after)
            self.samples += [entry["sample"]] if "sample" in entry else []

    def stop(self) -> None:
        """End it, whatever happened."""
        if self._probe is not None:
            self._end(0.0)
            self._seen.close()

    def _end(self, seconds: float = ANSWER_S) -> None:
        assert self._probe is not None
        if self._probe.stdin is not None and not self._probe.stdin.closed:
            with contextlib.suppress(OSError):
                self._probe.stdin.close()
        try:
            self._probe.wait(seconds)
        except subprocess.TimeoutExpired:
            self._probe.kill()
            self._probe.wait()

    def memory(self) -> tuple[str, list[tuple[float, float]]]:
        """(seconds, bytes) of the server's processes on this machine; without those, of the whole machine it is on, as
        its metrics tell. And in words which of them it is."""
        for key, whose in (("rss_bytes", "the server's processes"), ("machine_bytes", "the server's whole machine")):
            if found := [(sample["t"], sample[key]) for sample in self.samples if key in sample]:
                return whose, found
        return "nothing", []

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
            "batch_ms": _batch_ms(first, last),
            "cache": {"hits": delta("cache_hit", "count"), "misses": delta("cache_miss", "count")},
        }


def _batches(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """Executions by batch size."""
    counts = {entry["batch_size"]: entry["compute_infer"]["count"] for entry in after.get("batch_stats", [])}
    for entry in before.get("batch_stats", []):
        if entry["batch_size"] in counts:  # not in those of a server that was started again
            counts[entry["batch_size"]] -= entry["compute_infer"]["count"]
    return {str(size): count for size, count in sorted(counts.items()) if count > 0}


def _batch_ms(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """What one execution took an instance, in ms, by batch size: inputs, inference and outputs."""
    earlier = {entry["batch_size"]: entry for entry in before.get("batch_stats", [])}
    found = {}
    for entry in after.get("batch_stats", []):
        old = earlier.get(entry["batch_size"], {})
        count, taken = (
            sum(int(entry.get(part, {}).get(what, 0)) - int(old.get(part, {}).get(what, 0)) for part in parts)
            for what, parts in (("count", ["compute_infer"]), ("ns", PARTS[1:]))
        )
        if count > 0:
            found[str(entry["batch_size"])] = round(taken / count / 1e6, 4)
    return dict(sorted(found.items(), key=lambda pair: int(pair[0])))
