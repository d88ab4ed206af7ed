"""Versions on trial: a share of the requests, or copies of them, go to one when the server has a notice of it.

A client takes part only where it was asked to (`connect(rollouts=True)`). What a notice is, and what is said to it, is
told in `serving/rollout/notice.py`. Nothing of it is waited for by a caller: notices are asked for, copies sent and
what was seen is reported by `Trials.work`, which the faces of the client run beside the calls.
"""

import json
import os
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from clients.calls import Call, Inference, Inferred, Operation, Pause, Question
from clients.deadline import Deadline
from clients.errors import ClientError, Refused
from clients.exchange import Exchange

VARIABLE = "CONCH_ROLLOUTS"
NOTICE = "-rollout"
"""Behind a model's name in the name of its notice."""
REFRESH_S, REPORT_S = 2.0, 1.0
IDLE_S, COPYING_S = 0.2, 0.01
"""Between two rounds of the work."""
WORK_S = 5.0
"""What is done beside the calls is given so long."""
MOST_COPIES, MOST_COPY_BYTES = 32, 1 << 24
"""That wait to be sent, and the bytes of one; others are dropped."""
MOST_ROWS = 1000
LIVE, CANDIDATE = 0, 1
ANSWERED, FAILED, DROPPED = 0, 1, 2

Tolerances = Mapping[str, Sequence[float]]
"""By NumPy's name of a dtype: absolute, relative."""


@dataclass(frozen=True)
class Notice:
    """What a server says of a trial."""

    name: str
    candidate: str
    """The name under which the version is served."""
    canary: float
    shadow: float
    """Shares, from 0 to 1."""
    tolerances: Tolerances
    trial: str


@dataclass
class _Model:
    """What is known of one model's trial, and was seen of it since the last report (`rows`, as a notice takes them)."""

    notice: Notice | None = None
    asked: float = -REFRESH_S
    over: str = ""
    """A trial that nobody attends any more."""
    rows: deque[tuple[float, ...]] = field(default_factory=lambda: deque(maxlen=MOST_ROWS))
    reported: float = 0.0


@dataclass(frozen=True)
class _Copy:
    model: str
    notice: Notice
    requests: list[Inference]
    answers: list[Inferred]


class Trials:
    """Sends the requests of calls, some of them to a candidate; threads may share it.

    Args:
        exchange: Carries requests, and tries again.
        once: Carries requests, and does not: a candidate that has no room is left alone.
        draw: A number from 0 to 1, each time another.
    """

    def __init__(self, exchange: Exchange, once: Exchange, draw: Callable[[], float] = random.random) -> None:
        self._exchange, self._once, self._draw = exchange, once, draw
        self._models: dict[str, _Model] = {}
        self._copies: deque[_Copy] = deque()
        self.closed = False

    def answers(self, call: Call, requests: list[Inference]) -> Operation[list[Inferred]]:
        """As `Exchange.answers`. What a candidate refuses is asked of the live version.

        Raises ClientError where one is left without an answer.
        """
        state = self._models.setdefault(call.model, _Model())
        notice, step = state.notice, requests[0].step if requests else None
        if notice is None or not requests or call.version:
            return (yield from self._exchange.answers(call, requests))
        if step is not None and not step.start:
            side = CANDIDATE if step.route.model else LIVE
            return (yield from self._timed(self._exchange, call, requests, state, side))
        if self._draw() < notice.canary:
            try:
                asked = [replace(request, model=notice.candidate) for request in requests]
                answers = yield from self._timed(self._once, call, asked, state, CANDIDATE)
            except Refused as error:
                if error.missing:
                    state.notice = None
            else:
                if step is not None:
                    step.route.model = notice.candidate
                return answers
        answers = yield from self._timed(self._exchange, call, requests, state, LIVE)
        if step is None and notice.shadow and self._draw() < notice.shadow:
            self._copy(state, call.model, notice, requests, answers)
        return answers

    def known(self, model: str) -> bool:
        """Whether a version of the model is on trial."""
        return self._models[model].notice is not None

    def _timed(
        self, exchange: Exchange, call: Call, requests: list[Inference], state: _Model, side: int
    ) -> Operation[list[Inferred]]:
        start, paused = time.perf_counter(), call.deadline.paused
        try:
            answers = yield from exchange.answers(call, requests)
        except ClientError as error:
            if not (isinstance(error, Refused) and error.missing):
                state.rows.append((side, FAILED, 0, 0))
            raise
        seconds = time.perf_counter() - start - (call.deadline.paused - paused)
        state.rows.append((side, ANSWERED, seconds, 0))
        return answers

    def _copy(
        self, state: _Model, model: str, notice: Notice, requests: list[Inference], answers: list[Inferred]
    ) -> None:
        """Keep a copy to be sent: the caller may write into its own arrays."""
        size = sum(array.nbytes for request in requests for array in request.inputs.values())
        if len(self._copies) >= MOST_COPIES or size > MOST_COPY_BYTES:
            state.rows.append((CANDIDATE, DROPPED, 0, 0))
        elif not any(classes for request in requests for classes in request.outputs.values()):
            copied = [
                replace(
                    request,
                    model=notice.candidate,
                    inputs={name: np.array(array) for name, array in request.inputs.items()},
                )
                for request in requests
            ]
            self._copies.append(_Copy(model, notice, copied, answers))

    def work(self) -> Operation[None]:
        """Whatever is to be done beside the calls, until the client is closed."""
        while not self.closed:
            copied = yield from self.round()
            yield Pause(COPYING_S if copied else IDLE_S)

    def round(self) -> Operation[bool]:
        """What is to be done now; whether copies were among it."""
        for model, state in list(self._models.items()):
            if time.monotonic() - state.asked >= REFRESH_S:
                yield from self._learn(model, state)
        copies = len(self._copies)
        for _ in range(copies):
            yield from self._send(self._copies.popleft())
        yield from self.report(REPORT_S)
        return copies > 0

    def _learn(self, model: str, state: _Model) -> Operation[None]:
        state.asked = time.monotonic()
        call = Call("rollout", Deadline(WORK_S))
        try:
            (config,) = yield from self._once.answers(call, [Question("config", f"{model}{NOTICE}")])
            found = parse_notice(config)
        except ClientError:
            found = None
        state.notice = found if found is not None and found.trial != state.over else None

    def _send(self, copy: _Copy) -> Operation[None]:
        state, start = self._models[copy.model], time.perf_counter()
        if state.notice != copy.notice:
            return
        try:
            answers = yield from self._once.answers(Call("rollout", Deadline(WORK_S)), copy.requests)
        except ClientError as error:
            if not (isinstance(error, Refused) and error.missing):
                state.rows.append((CANDIDATE, FAILED, 0, 0))
            return
        seconds = time.perf_counter() - start
        differs = any(
            differ(answer.outputs[name], array, copy.notice.tolerances.get(array.dtype.name, (0, 0)))
            for answer, expected in zip(answers, copy.answers, strict=True)
            for name, array in expected.outputs.items()
        )
        state.rows.append((CANDIDATE, ANSWERED, seconds, differs))

    def report(self, every: float = 0.0) -> Operation[None]:
        """Tell each notice what was seen, where that was not done for `every` seconds."""
        for state in list(self._models.values()):
            notice = state.notice
            if notice is None or time.monotonic() - state.reported < every:
                if notice is None:
                    state.rows.clear()
                continue
            rows = [state.rows.popleft() for _ in range(len(state.rows))]
            state.reported = time.monotonic()
            if not rows:
                continue
            inputs = {"rows": np.array(rows, np.float64), "take": np.array([False])}
            request = Inference(notice.name, "", inputs, {"attended": 0})
            try:
                (answer,) = yield from self._once.answers(Call("rollout", Deadline(WORK_S)), [request])
                attended = bool(answer.outputs["attended"].all())
            except Refused:
                attended = False
            except ClientError:
                continue
            if not attended:
                state.notice, state.over = None, notice.trial


def takes_part(asked: bool | None, servers: int, shares_memory: bool) -> bool:
    """Whether a client is in trials: where it is `asked` to, or else the environment's CONCH_ROLLOUTS is 1.

    Raises ClientError for more than one server, for a version is on trial on one alone; and for one that it shares
    memory with, which belongs to one request.
    """
    if asked and servers > 1:
        raise ClientError(f"rollouts=True takes one server, got {servers}: a version is on trial on one alone")
    if asked and shares_memory:
        raise ClientError("rollouts=True and shared_memory are for two clients: what is in shared memory is not copied")
    return asked if asked is not None else servers == 1 and not shares_memory and os.environ.get(VARIABLE) == "1"


def parse_notice(config: Mapping[str, object]) -> Notice | None:
    """The notice in a configuration; None where it is none."""
    try:
        parameters = {key: entry["string_value"] for key, entry in config["parameters"].items()}  # type: ignore[attr-defined]
        return Notice(
            str(config["name"]), parameters["candidate"], float(parameters.get("canary_share", 0)),
            float(parameters.get("shadow_share", 0)), json.loads(parameters["tolerances"]), parameters["trial"],
        )  # fmt: skip
    except (LookupError, ValueError, TypeError, AttributeError):
        return None


def differ(got: np.ndarray, expected: np.ndarray, allowed: Sequence[float]) -> bool:
    """Whether an answer is not the expected one within `allowed` (absolute, relative); NaN is NaN, text is equal."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return True
    if got.dtype.kind not in "fiu" or not any(allowed):
        return not np.array_equal(got, expected, equal_nan=got.dtype.kind == "f")
    absolute, relative = allowed
    wide = np.float64
    return not np.allclose(got.astype(wide), expected.astype(wide), rtol=relative, atol=absolute, equal_nan=True)
