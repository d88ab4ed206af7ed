"""The supervisor's own metrics, for Prometheus. Triton's page dies with Triton, just when it is wanted: these do not.

No label is free text: models are those of the repository, and what is no longer there is dropped. So the number of
series is bounded by the number of models.

Source: prometheus.io, "Metric and label naming", "Instrumentation".
"""

import time
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram

from conch.contracts.promises import Promise
from serving.server.events import Event

Outcome = Literal["right", "late", "wrong", "failed"]
"""Of a probe: answered as it has to be; so, but later than is promised; answered otherwise; not answered."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class SupervisorMetrics:
    """All of them, in `registry`; a listener of events (`heard`), and set by who looks at the server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        model = ["model"]
        self.server_up = Gauge("conch_server_up", "Whether tritonserver answered when last asked", registry=registry)
        self.restarts = Counter(
            "conch_server_restarts", "Times that tritonserver ended by itself and was started again", registry=registry
        )
        self.public_up = Gauge(
            "conch_public_endpoint_up", "Whether the address that clients are given answered", registry=registry
        )
        self.guard_restarts = Counter(
            "conch_guard_restarts",
            "Times that a part of the guard ended by itself and was started again",
            registry=registry,
        )
        self.dead_instances = Gauge(
            "conch_dead_instances", "Instances of a model whose process is dead now", model, registry=registry
        )
        self.reloads = Counter(
            "conch_model_reloads",
            "Loads of a model that had lost a process, or was unwell",
            ["model", "result"],
            registry=registry,
        )
        self.ready = Gauge(
            "conch_model_ready", "Whether the server says that the model is ready", model, registry=registry
        )
        self.live = Gauge(
            "conch_live_version",
            "The version that clients are to get, by the model's history",
            model,
            registry=registry,
        )
        self.served = Gauge(
            "conch_served_version",
            "The version that clients get, by the server: 0 where none",
            model,
            registry=registry,
        )
        self.rollouts = Counter(
            "conch_rollouts", "Versions that went live since the start", ["model", "how"], registry=registry
        )
        self.probes = Counter(
            "conch_probe_answers", "Golden requests sent over the public path", ["model", "outcome"], registry=registry
        )
        self.probe_seconds = Histogram(
            "conch_probe_duration_seconds", "Time to the answer of a golden request", model, buckets=BUCKETS,
            registry=registry,
        )  # fmt: skip
        self.last_answer = Enum(
            "conch_probe_state", "How the last golden request was answered", model, states=OUTCOMES, registry=registry
        )
        self.last_right = Gauge(
            "conch_probe_last_right_timestamp_seconds", "When a probe was last answered right", model, registry=registry
        )
        self.last_round = Gauge(
            "conch_monitor_last_round_timestamp_seconds", "When all models were last looked at", registry=registry
        )
        self.round_seconds = Gauge("conch_monitor_round_seconds", "What the last look at all took", registry=registry)
        self.interval = Gauge("conch_monitor_interval_seconds", "Time between two looks", registry=registry)
        self.promised_seconds = Gauge(
            "conch_promise_latency_seconds", "Within which 99 of 100 answers are promised", model, registry=registry
        )
        self.promised_errors = Gauge(
            "conch_promise_error_ratio", "The share of requests that may fail", model, registry=registry
        )
        self.events = Counter("conch_events", "Events told", ["event", "level"], registry=registry)
        self._of_models = (
            self.dead_instances, self.reloads, self.ready, self.live, self.served, self.rollouts, self.probes,
            self.probe_seconds, self.last_answer, self.last_right, self.promised_seconds, self.promised_errors,
        )  # fmt: skip
        self._models: set[str] = set()

    def heard(self, event: Event) -> None:
        """Count an event; one of a model that is not in the repository is no more than an event."""
        self.events.labels(event.event, event.level).inc()
        match event.event:
            case "server_ready":
                self.server_up.set(1)
            case "server_died" | "server_stopping":
                self.server_up.set(0)
            case "guard_part_ended":
                self.guard_restarts.inc()
            case "server_restarted":
                self.server_up.set(1)
                self.restarts.inc()
                for model in self._models:
                    self.dead_instances.labels(model).set(0)
        if event.model in self._models:
            match event.event:
                case "backend_process_died":
                    self.dead_instances.labels(event.model).inc()
                case "model_reloaded":
                    self.dead_instances.labels(event.model).set(0)
                    self.reloads.labels(event.model, "loaded").inc()
                case "model_reload_failed":
                    self.reloads.labels(event.model, "failed").inc()

    def know(self, models: Iterable[str], promises: Mapping[str, Promise]) -> None:
        """Have series for these models, and no others."""
        wanted = set(models)
        for model in self._models - wanted:
            for metric in self._of_models:
                metric.remove_by_labels({"model": model})
        for model in wanted - self._models:
            self.dead_instances.labels(model).set(0)
            for result in ("loaded", "failed"):
                self.reloads.labels(model, result)
            for how in ("rollout", "rollback"):
                self.rollouts.labels(model, how)
            if promise := promises.get(model):
                self.promised_errors.labels(model).set(promise.error_rate)
                if promise.p99_ms is not None:
                    self.promised_seconds.labels(model).set(promise.p99_ms / 1e3)
        self._models = wanted

    def probed(self, model: str, outcome: Outcome, seconds: float) -> None:
        """Count an answer to a golden request."""
        for known in OUTCOMES:  # a share needs all of them from the first one on
            self.probes.labels(model, known).inc(known == outcome)
        self.probe_seconds.labels(model).observe(seconds)
        self.last_answer.labels(model).state(outcome)
        if outcome in ("right", "late"):
            self.last_right.labels(model).set(time.time())
