"""One request to a model, and what is known of its answer: how long it took and where, and which version gave it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from clients import Client
from clients.calls import Call
from clients.class_labels import class_labels
from clients.errors import ClientError
from clients.server_statistics import Counters
from clients.signature import Metadata

T = TypeVar("T")

MOST_LABELS = 10_000
"""Of an output with more classes the labels are not asked for."""


@dataclass(frozen=True)
class Times:
    """What one request took, in milliseconds.

    The server counts, it does not tell of single requests: `shared` requests came from others meanwhile, and its own
    two times are then the mean of all.
    """

    whole: float
    queue: float | None = None
    compute: float | None = None
    shared: int = 0

    @property
    def network(self) -> float | None:
        """All that the server did not count: the way there and back, and the client's own work."""
        if self.queue is None or self.compute is None or self.shared:
            return None
        return max(0.0, self.whole - self.queue - self.compute)


@dataclass(frozen=True)
class Answer:
    """Outputs of one item by name, without a batch axis where the model has one."""

    outputs: Mapping[str, np.ndarray]
    version: str
    times: Times


class Witness:
    """An observer that keeps which version answered the last call of each thread."""

    def __init__(self) -> None:
        self._seen = threading.local()

    def begun(self, call: Call) -> None:
        """Nothing is known yet."""

    def ended(self, call: Call, seconds: float, error: BaseException | None) -> None:
        """Keep it."""
        self._seen.version = call.answered

    @property
    def version(self) -> str:
        """That answered the last call of this thread; empty where none did."""
        return getattr(self._seen, "version", "")


class Asked:
    """A model on the server, one version of it or that which is live, of which single items are asked.

    Its methods wait for the server. All raise ClientError.
    """

    def __init__(self, client: Client, witness: Witness, model: str, version: str = "") -> None:
        self.client, self._witness = client, witness
        self.model, self.version = model, version
        self._labels: dict[str, list[str]] = {}

    @cached_property
    def metadata(self) -> Metadata:
        """What the server says of it."""
        return self.client.metadata(self.model, self.version)

    def ask(self, inputs: Mapping[str, np.ndarray]) -> Answer:
        """The answer to one item; of a model with a state as a sequence of its own, of one request."""

        def call() -> dict[str, np.ndarray]:
            if self.metadata.stateful:
                return self.client.sequence(self.model, version=self.version).infer(inputs, last=True)
            return self.client.infer(self.model, inputs, version=self.version)

        return Answer(*self.timed(call))

    def timed(self, call: Callable[[], T]) -> tuple[T, str, Times]:
        """What a call to the model gives, the version that answered and what it took."""
        before = self._counters()
        start = time.perf_counter()
        given = call()
        whole = (time.perf_counter() - start) * 1e3
        version = self._witness.version
        return given, version, self._times(whole, version, before)

    def labels(self, output: str, inputs: Mapping[str, np.ndarray]) -> list[str]:
        """The label of each class of `output`, as the configuration has them for its values, or the server for its
        places, by a request with `inputs`; empty where it has none."""
        if output not in self._labels:
            try:
                named = [*class_labels(self.metadata, output)]
            except ClientError:  # what a stranger's configuration means by it is not known
                named = []
            self._labels[output] = named or self._asked_labels(output, inputs)
        return self._labels[output]

    def _asked_labels(self, output: str, inputs: Mapping[str, np.ndarray]) -> list[str]:
        (spec,) = (spec for spec in self.metadata.outputs if spec.name == output)
        classes = spec.shape[-1] if spec.shape else 0
        if not 1 < classes <= MOST_LABELS or spec.open_axes or len(spec.shape) > 1 + spec.batched:
            return []
        try:
            if self.metadata.stateful:
                found = self.client.sequence(self.model, version=self.version).classify(
                    inputs, output, classes, last=True
                )
            else:
                (found,) = self.client.classify(self.model, inputs, output, classes, self.version)
        except ClientError:  # as of a type that has no classes: then it has no labels either
            return []
        labels = [""] * classes
        for one in found:
            labels[one.index] = one.label
        return labels if any(labels) else []

    def _counters(self) -> Mapping[tuple[str, str], Counters]:
        try:
            return self.client.counters()
        except ClientError:  # the request itself will tell, where the server is gone
            return {}

    def _times(self, whole: float, version: str, before: Mapping[tuple[str, str], Counters]) -> Times:
        key = self.model, version
        counted = self._counters().get(key, Counters()).since(before.get(key, Counters()))
        if counted.queue_ms is None or counted.latency_ms is None or key not in before:
            return Times(whole)
        compute = max(0.0, counted.latency_ms - counted.queue_ms)
        return Times(whole, counted.queue_ms, compute, max(0, counted.requests - 1))
