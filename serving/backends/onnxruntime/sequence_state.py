"""The states of a model with `sequence_batching { state }`, kept from one request of a sequence to the next.

For NVIDIA's C++ backend Triton's core keeps them. For a python-based one it only hands over buffers that nobody writes,
so this backend keeps the states itself, by correlation id (a number or a string). The core gives all requests of a
sequence to one instance, so that a table for each instance is enough.

* START resets a sequence, END and `max_sequence_idle_microseconds` without a request forget it.
* What is kept is bounded: there is a place for each sequence that the core lets this instance have. Where the core gave
  a place away without telling (a client that cancelled), the sequence idle for longest makes way.
* A run that fails leaves the state as it was: a sequence whose first request fails has begun, with its initial state.

Source: triton-inference-server/core src/sequence_batch_scheduler/sequence_batch_scheduler.cc and
sequence_state.cc, server docs/user_guide/implicit_state_management.md.
"""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from config_values import Config
from graph_tensors import NUMPY_TYPES, ORT_TYPES, configured_dims, open_dims
from runner import Arrays

START, END = 1, 2
"""Of `request.flags()`: TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END."""
# The core's own where the configuration says nothing.
IDLE_MICROSECONDS = 1_000_000
INITIAL_STATE_FOLDER = "initial_state"
"""Beside config.pbtxt: where `initial_state { data_file }` is looked for."""

CorrelationId = int | str


class NoSuchSequence(Exception):
    """A request goes on with a sequence that is not under way."""


@dataclass
class _Kept:
    states: Arrays
    used: float
    """When the last run ended, in the clock's seconds."""


class SequenceStates:
    """The states of all sequences of one model instance.

    Args:
        config: The model configuration, with states.
        model_folder: Where its config.pbtxt is.
        session: Its graph.
        clock: Seconds that never go back.

    Raises:
        ValueError: A state is not in the graph, is of another type or shape, or has an initial value that is none.
    """

    def __init__(
        self,
        config: Config,
        model_folder: Path,
        session: ort.InferenceSession,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        batching = config["sequence_batching"]
        batched = config["max_batch_size"] > 0
        self._pairs = {entry["input_name"]: entry["output_name"] for entry in batching["state"]}
        for entry in batching["state"]:
            _check_state(entry, session, batched)
        self._initial = {
            entry["input_name"]: _initial(entry, model_folder)[np.newaxis] if batched else _initial(entry, model_folder)
            for entry in batching["state"]
        }
        self._idle = (int(batching.get("max_sequence_idle_microseconds") or 0) or IDLE_MICROSECONDS) / 1e6
        slots = int(batching.get("oldest", {}).get("max_candidate_sequences") or 0)
        self._capacity = slots or max(1, config["max_batch_size"])
        self._clock = clock
        self._kept: OrderedDict[CorrelationId, _Kept] = OrderedDict()  # the longest idle first

    @property
    def under_way(self) -> int:
        """How many sequences have a state."""
        return len(self._kept)

    def run(
        self,
        requests: Sequence[Any],
        inputs: Sequence[Arrays],
        outputs: Sequence[str],
        run: Callable[[Sequence[Arrays], Sequence[str]], list[Arrays | Exception]],
    ) -> list[Arrays | Exception]:
        """The outputs of each request, or its error, in order; requests of different sequences are one run.

        Args:
            requests: Triton's, asked for their `correlation_id()` and `flags()`.
            inputs: The arrays of each, [1, ...] where the model is batched; those of states are replaced.
            outputs: Names of the outputs to compute.
            run: Computes outputs for several requests, as `Runner.run`.
        """
        self._forget_idle()
        answers: list[Arrays | Exception] = [NoSuchSequence()] * len(requests)
        wanted = [*outputs, *(name for name in self._pairs.values() if name not in outputs)]
        for places in _turns(requests):
            ready: list[int] = []
            feeds: list[Arrays] = []
            for place in places:
                try:
                    feeds.append({**inputs[place], **self._states_before(requests[place])})
                    ready.append(place)
                except NoSuchSequence as error:
                    answers[place] = error
            for place, answer in zip(ready, run(feeds, wanted) if feeds else [], strict=True):
                self._keep(requests[place], answer)
                answers[place] = answer if isinstance(answer, Exception) else {name: answer[name] for name in outputs}
        return answers

    def _states_before(self, request: Any) -> Arrays:
        name: CorrelationId = request.correlation_id()
        # Without a correlation id it is of no sequence: Triton's warm-up, or what `direct` fills up a batch with.
        if not name or request.flags() & START:
            return self._initial
        if name not in self._kept:
            raise NoSuchSequence(
                f"sequence {name!r} is not under way: it never began (the first request needs the START flag), has "
                f"ended, had no request for {self._idle:g} s, or made way when {self._capacity} others were"
            )
        return self._kept[name].states

    def _keep(self, request: Any, answer: Arrays | Exception) -> None:
        name: CorrelationId = request.correlation_id()
        flags = request.flags()
        if flags & END:
            self._kept.pop(name, None)
        elif name and not isinstance(answer, Exception):
            # Copied: a row is a view of the whole batch, which would stay in memory with it.
            self._place(name, {one: np.array(answer[other]) for one, other in self._pairs.items()})
        elif name and flags & START:
            self._place(name, self._initial)

    def _place(self, name: CorrelationId, states: Arrays) -> None:
        while name not in self._kept and len(self._kept) >= self._capacity:
            self._kept.popitem(last=False)
        self._kept[name] = _Kept(states, self._clock())
        self._kept.move_to_end(name)

    def _forget_idle(self) -> None:
        now = self._clock()
        while self._kept:
            name, longest = next(iter(self._kept.items()))
            if now - longest.used < self._idle:
                return
            del self._kept[name]


def _turns(requests: Sequence[Any]) -> list[list[int]]:
    """Places of the requests that may share a run: the first of each sequence, then the second of each, and so on."""
    seen: Counter[CorrelationId] = Counter()
    turns: list[list[int]] = []
    for place, request in enumerate(requests):
        name = request.correlation_id()
        turn = seen[name] if name else 0
        seen[name] += 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(place)
    return turns


def _check_state(entry: Config, session: ort.InferenceSession, batched: bool) -> None:
    """Compare one `state` with the graph's input and output of its names."""
    dims = configured_dims(entry)
    for kind, name, tensors in (
        ("input", entry["input_name"], session.get_inputs()),
        ("output", entry["output_name"], session.get_outputs()),
    ):
        where = f"state {kind} '{name}'"
        by_name = {tensor.name: tensor for tensor in tensors}
        if name not in by_name:
            raise ValueError(f"{where} is not in the graph, which has {sorted(by_name)}")
        found = ORT_TYPES.get(by_name[name].type, by_name[name].type)
        if entry["data_type"] != found or found not in NUMPY_TYPES:
            raise ValueError(
                f"{where} has type {entry['data_type']}, the graph's is {found}, allowed are {sorted(NUMPY_TYPES)}"
            )
        shape = open_dims(by_name[name])
        wanted = [-1, *dims] if batched else dims
        if len(shape) != len(wanted) or any(
            -1 not in pair and pair[0] != pair[1] for pair in zip(wanted, shape, strict=True)
        ):
            with_batch = " (with the batch axis)" if batched else ""
            raise ValueError(f"{where} has shape {wanted}{with_batch}, the graph's is {shape}")


def _initial(entry: Config, model_folder: Path) -> np.ndarray:
    """A state's first value without its batch axis: `initial_state`, else zeros; an open axis is then of length 1."""
    kind = NUMPY_TYPES[entry["data_type"]]
    given = (entry.get("initial_state") or [{}])[0]
    dims = configured_dims(given) or [max(dim, 1) for dim in configured_dims(entry)]
    if not given.get("data_file"):
        return np.zeros(dims, kind)
    file = model_folder / INITIAL_STATE_FOLDER / given["data_file"]
    needed = math.prod(dims) * np.dtype(kind).itemsize
    content = file.read_bytes() if file.is_file() else None
    if content is None or len(content) < needed:
        found = "there is no such file" if content is None else f"it has {len(content)} bytes, needed are {needed}"
        raise ValueError(f"state input '{entry['input_name']}': initial state {file}: {found}")
    return np.frombuffer(content[:needed], kind).reshape(dims)
