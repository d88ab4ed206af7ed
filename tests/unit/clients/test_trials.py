"""A client's part in the trial of a version, without a server: the operations are driven by hand."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from clients import connect
from clients.address import Address
from clients.calls import Inference, Inferred, Operation, Outcome, Question, Send, Sending
from clients.errors import ClientError, DeadlineExceeded, Overloaded, Refused
from clients.operations import Operations
from clients.step import Step
from clients.trials import MOST_COPIES, REFRESH_S, Trials, differ

METADATA: dict[str, Any] = {
    "name": "model",
    "versions": ["1"],
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
CONFIG: dict[str, Any] = {"max_batch_size": 4}

X = np.ones((1, 2), np.float32)
GONE = Refused("not there", "404")


class Server:
    """The live version 1 doubles; the candidate, version 2, answers what `candidate` makes of its input, or fails."""

    def __init__(self, stateful: bool = False, **shares: float) -> None:
        self.operations = Operations([Address("http", "server:1")], rollouts=True)
        assert self.operations.trials is not None
        self.trials: Trials = self.operations.trials
        self.draws: Iterator[float] = iter(())
        self.trials._draw = lambda: next(self.draws, 0.0)
        self.parameters: dict[str, str] | None = {
            "candidate": "model-candidate", "tolerances": json.dumps({"float32": [0.01, 0]}), "trial": "one",
            **{f"{what}_share": str(share) for what, share in shares.items()},
        }  # fmt: skip
        self.config = CONFIG | ({"sequence_batching": {}} if stateful else {})
        self.candidate: ClientError | float = 2.0
        self.asked: list[tuple[str, str]] = []
        self.rows: list[list[float]] = []
        self.attended = True

    def infer(self, step: Step | None = None) -> Any:
        return self.run(self.operations.infer("model", {"x": X}, step=step))["y"]

    def round(self) -> None:
        """What is done beside the calls, when everything is due."""
        for state in self.trials._models.values():
            state.asked -= REFRESH_S
            state.reported -= REFRESH_S
        self.run(self.trials.round())

    def run(self, operation: Operation[Any]) -> Any:
        given: Any = None
        try:
            while True:
                wish = operation.send(given)
                given = [self._answer(sending) for sending in wish.sendings] if isinstance(wish, Send) else None
        except StopIteration as end:
            return end.value

    def _answer(self, sending: Sending) -> Outcome:
        request = sending.request
        if isinstance(request, Question):
            if request.model == "model":
                return METADATA if request.about == "metadata" else self.config
            if self.parameters is None:
                return GONE
            return {"name": request.model, "parameters": {k: {"string_value": v} for k, v in self.parameters.items()}}
        assert isinstance(request, Inference)
        if request.model == "model-rollout":
            self.rows += request.inputs["rows"].tolist()
            return Inferred({"attended": np.array([self.attended])}, "1")
        self.asked.append((request.model, request.version))
        if request.model == "model":
            return Inferred({"y": request.inputs["x"] * 2}, "1")
        if isinstance(self.candidate, ClientError):
            return self.candidate
        return Inferred({"y": request.inputs["x"] * self.candidate}, "2")

    @property
    def seen(self) -> list[tuple[float, ...]]:
        """What was reported, without the seconds."""
        return [(side, outcome, differs) for side, outcome, _, differs in self.rows]


def begun(**options: Any) -> Server:
    """A server whose client has heard of the trial."""
    server = Server(**options)
    server.infer()
    server.round()
    server.asked.clear()
    return server


def test_a_share_goes_to_the_candidate_and_both_sides_are_reported() -> None:
    server = begun(canary=0.25)
    server.draws = iter([0.3, 0.2, 0.9])
    for _ in range(3):
        np.testing.assert_array_equal(server.infer(), 2 * X)
    assert [model for model, _ in server.asked] == ["model", "model-candidate", "model"]
    assert server.rows == []
    server.round()
    assert server.seen == [(0, 0, 0), (1, 0, 0), (0, 0, 0)]
    assert all(seconds > 0 for _, _, seconds, _ in server.rows)
    server.parameters = None  # the trial is over
    server.round()
    server.infer()
    assert server.asked[-1][0] == "model"


def test_requests_that_name_a_version_and_clients_that_were_not_asked_take_no_part() -> None:
    server = begun(canary=1)
    server.run(server.operations.infer("model", {"x": X}, version="1"))
    assert server.asked == [("model", "1")]
    assert connect("localhost:1")._operations.trials is None
    with pytest.raises(ClientError, match="one server, got 2"):
        connect(["a:1", "b:1"], rollouts=True)
    with pytest.raises(ClientError, match="are for two clients"):
        connect("localhost:1", rollouts=True, shared_memory=True)


def test_the_environment_asks_clients_of_one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCH_ROLLOUTS", "1")
    assert connect("localhost:1")._operations.trials is not None
    assert connect("localhost:1", rollouts=False)._operations.trials is None
    assert connect(["a:1", "b:1"])._operations.trials is None


@pytest.mark.parametrize(
    ("error", "rows"),
    [
        (Refused("an index is out of range", "400"), [(1, 1, 0), (0, 0, 0)]),
        (Overloaded("full", "503"), [(1, 1, 0), (0, 0, 0)]),
        (GONE, []),  # it was unloaded meanwhile: not a failure of it, and the trial is over
    ],
)
def test_what_the_candidate_refuses_the_live_version_answers(error: ClientError, rows: list[tuple[float, ...]]) -> None:
    server = begun(canary=1)
    server.candidate = error
    np.testing.assert_array_equal(server.infer(), 2 * X)
    assert [model for model, _ in server.asked] == ["model-candidate", "model"], "and it is asked once"
    server.run(server.trials.report())
    assert server.seen == rows


def test_a_candidate_that_does_not_answer_in_time_is_a_failed_call() -> None:
    server = begun(canary=1)
    server.candidate = DeadlineExceeded("late")
    with pytest.raises(DeadlineExceeded):
        server.infer()
    server.round()
    assert server.seen == [(1, 1, 0)]


def test_a_sequence_stays_on_the_side_where_it_began() -> None:
    server = Server(stateful=True, canary=0.5)
    server.infer(Step(1, start=True, end=False))
    server.round()
    server.asked.clear()
    server.draws = iter([0.1, 0.9])
    steps = [Step(number, start=True, end=False) for number in (2, 3)]
    for step in steps:
        server.infer(step)
        server.infer(Step(step.id, start=False, end=True, route=step.route))
    assert server.asked == [("model-candidate", ""), ("model-candidate", "2"), ("model", ""), ("model", "1")]
    server.round()
    assert server.seen == [(1, 0, 0), (1, 0, 0), (0, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize(("factor", "differs"), [(2.0, 0), (2.005, 0), (2.02, 1), (float("nan"), 1)])
def test_answers_to_copies_are_compared_within_the_tolerance_and_thrown_away(factor: float, differs: int) -> None:
    server = begun(shadow=1)
    server.candidate = factor
    np.testing.assert_array_equal(server.infer(), 2 * X)
    assert [model for model, _ in server.asked] == ["model"], "the caller waits for no copy"
    server.round()
    assert [model for model, _ in server.asked] == ["model", "model-candidate"]
    assert server.seen == [(0, 0, 0), (1, 0, differs)]


def test_copies_wait_in_a_bounded_queue_and_have_their_inputs_to_themselves() -> None:
    server = begun(shadow=1)
    mine = X.copy()
    for _ in range(MOST_COPIES + 3):
        server.run(server.operations.infer("model", {"x": mine}))
        mine *= 5
    server.round()
    assert server.seen.count((1, 2, 0)) == 3
    assert server.seen.count((1, 0, 0)) == MOST_COPIES, "what the caller wrote later is in no copy"
    server.candidate = Refused("no", "400")
    server.rows.clear()
    server.infer()
    server.round()
    assert server.seen == [(0, 0, 0), (1, 1, 0)]


def test_a_trial_that_nobody_attends_any_more_is_left() -> None:
    server = begun(canary=1)
    server.attended = False
    server.infer()
    server.round()
    for _ in range(2):
        server.round()
        server.infer()
    assert [model for model, _ in server.asked] == ["model-candidate", "model", "model"]
    server.attended, server.parameters = True, {**(server.parameters or {}), "trial": "another"}
    server.round()
    server.infer()
    assert server.asked[-1][0] == "model-candidate"


@pytest.mark.parametrize(
    "parameters", [{}, {"candidate": "x"}, {"candidate": "x", "trial": "y", "tolerances": "{", "canary_share": "1"}]
)
def test_what_is_no_notice_is_none(parameters: dict[str, str]) -> None:
    server = Server(canary=1)
    server.parameters = parameters
    server.infer()
    server.round()
    server.infer()
    assert {model for model, _ in server.asked} == {"model"}


@pytest.mark.parametrize(
    ("got", "expected", "allowed", "found"),
    [
        (np.array([1, 2]), np.array([1, 2]), (0, 0), False),
        (np.array([1, 3], np.uint8), np.array([2, 2], np.uint8), (1, 0), False),
        (np.array([0], np.uint8), np.array([255], np.uint8), (1, 0), True),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), (0, 0), False),
        (np.array([1.0]), np.array([[1.0]]), (1, 1), True),
        (np.array([b"a"], object), np.array([b"a"], object), (0, 0), False),
        (np.array([b"a"], object), np.array([b"b"], object), (0, 0), True),
        (np.array([True]), np.array([False]), (0, 0), True),
    ],
)
def test_answers_that_differ(got: Any, expected: Any, allowed: tuple[float, float], found: bool) -> None:
    assert differ(got, expected, allowed) == found
