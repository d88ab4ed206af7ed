"""What a client decides, without a server and without waiting: the operations are driven by hand."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clients import connect, connect_async
from clients.address import Address
from clients.calls import Call, Inference, Inferred, Operation, Outcome, Pause, Question, Send, Sending
from clients.errors import ClientError, DeadlineExceeded, Overloaded, Refused, Unreachable, WrongKind, WrongTensor
from clients.operations import Operations
from clients.retries import Budget
from clients.step import Step

X = np.arange(8, dtype=np.float32).reshape(4, 2)
METADATA: dict[str, Any] = {
    "name": "model",
    "versions": ["1"],
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
CONFIG: dict[str, Any] = {"max_batch_size": 4}
REFUSED = Unreachable("no server", not_run=True)
BROKEN = Unreachable("broke")
LATE = DeadlineExceeded("late")
FULL = Overloaded("full", "503")
NO = Refused("no", "400")


class Servers:
    """The servers of a client: each fails as its script says, in turn, and then answers twice the input."""

    def __init__(self, count: int = 1, stateful: bool = False, **options: Any) -> None:
        addresses = [Address("http", f"server{number}:1") for number in range(count)]
        self.operations = Operations(addresses, **options)
        self.scripts: dict[str, list[ClientError]] = {address.target: [] for address in addresses}
        self.dead: set[str] = set()
        self.sent: list[Sending] = []
        self.pauses: list[float] = []
        self.metadata, self.config = METADATA, CONFIG | ({"sequence_batching": {}} if stateful else {})
        self.version = "1"

    def run(self, operation: Operation[Any]) -> Any:
        """Drive it to its end."""
        given: Any = None
        try:
            while True:
                wish = operation.send(given)
                assert isinstance(wish, Send | Pause)
                if isinstance(wish, Pause):
                    self.pauses.append(wish.seconds)
                    given = None
                else:
                    given = [self._answer(sending) for sending in wish.sendings]
        except StopIteration as end:
            return end.value

    def infer(self, x: Any = X, **options: Any) -> Any:
        return self.run(self.operations.infer("model", {"x": x}, **options))["y"]

    def inferred(self) -> list[str]:
        """Where inferences were sent to."""
        return [sending.address.target for sending in self.sent if isinstance(sending.request, Inference)]

    def _answer(self, sending: Sending) -> Outcome:
        self.sent.append(sending)
        request = sending.request
        if sending.address.target in self.dead:
            return REFUSED
        if isinstance(request, Question):
            about: dict[str, Any] = {"metadata": self.metadata, "config": self.config, "ready": {"ready": True}}
            return about.get(request.about, [{"name": "model", "version": "1", "state": "READY"}])
        if script := self.scripts[sending.address.target]:
            return script.pop(0)
        assert isinstance(request, Inference)
        return Inferred(dict.fromkeys(request.outputs, request.inputs["x"] * 2), self.version)


@pytest.mark.parametrize(
    ("failure", "repeatable", "again"),
    [
        (REFUSED, False, True),
        (FULL, False, True),
        (BROKEN, False, False),
        (BROKEN, True, True),
        (LATE, True, False),
        (NO, True, False),
    ],
)
@pytest.mark.parametrize("declared", ["client", "call"])
def test_only_what_was_not_run_or_may_run_twice_is_sent_again(
    failure: ClientError, repeatable: bool, again: bool, declared: str
) -> None:
    servers = Servers(repeatable=repeatable if declared == "client" else not repeatable)
    servers.scripts["server0:1"] = [failure]
    options = {"repeatable": repeatable} if declared == "call" else {}
    if again:
        np.testing.assert_array_equal(servers.infer(**options), 2 * X)
    else:
        with pytest.raises(type(failure)):
            servers.infer(**options)
    assert len(servers.inferred()) == 1 + again
    statistics = servers.operations.statistics
    assert (statistics.calls, statistics.failed, statistics.retries) == (1, not again, int(again))


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_counted_and_their_pauses_grow_and_differ(attempts: int) -> None:
    random.seed(7)
    servers = Servers(attempts=attempts)
    servers.infer()
    for _ in range(10):
        servers.scripts["server0:1"] = [FULL] * 100
        servers.sent.clear()
        with pytest.raises(Overloaded):
            servers.infer()
        assert len(servers.inferred()) == attempts
    assert len(set(servers.pauses)) == len(servers.pauses) == 10 * (attempts - 1)
    assert all(0 <= pause <= 0.1 * 2**number for n in range(10) for number, pause in enumerate(
        servers.pauses[n * (attempts - 1) : (n + 1) * (attempts - 1)]
    ))  # fmt: skip


def test_nothing_is_sent_again_when_the_deadline_would_be_over() -> None:
    servers = Servers(attempts=1000, timeout=0.06)
    servers.scripts["server0:1"] = [FULL] * 1000
    with pytest.raises(Overloaded):
        servers.infer()
    assert len(servers.inferred()) < 100


def test_retries_have_a_budget() -> None:
    """Where every call fails, there is soon one request a call."""
    servers = Servers()
    servers.infer()
    servers.scripts["server0:1"] = [FULL] * 10**4
    for _ in range(100):
        with pytest.raises(Overloaded):
            servers.infer()
    assert servers.operations.statistics.retries <= Budget.MOST / 2
    servers.scripts["server0:1"] = []
    for _ in range(1000):
        servers.infer()
    servers.scripts["server0:1"] = [FULL]
    servers.infer()


def test_requests_go_round_and_to_those_that_answer() -> None:
    servers = Servers(3)
    for _ in range(30):
        servers.infer()
    assert {servers.inferred().count(target) for target in servers.scripts} == {10}
    servers.dead = {"server1:1"}
    servers.sent.clear()
    servers.pauses.clear()
    for _ in range(30):
        np.testing.assert_array_equal(servers.infer(), 2 * X)
    assert servers.inferred().count("server1:1") == 1, "a dead one is left alone"
    assert servers.pauses == [0.0], "another server is asked at once"
    assert servers.operations.statistics.failovers == 1


def test_all_servers_are_tried_before_a_call_fails() -> None:
    servers = Servers(6, attempts=2)
    servers.dead = {f"server{number}:1" for number in range(5)}
    np.testing.assert_array_equal(servers.infer(), 2 * X)
    servers.dead.add("server5:1")
    with pytest.raises(Unreachable, match="no server"):
        servers.infer()


def test_a_server_that_comes_back_is_asked_whether_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("clients.endpoints.time.monotonic", lambda: now)
    servers = Servers(2)
    servers.dead = {"server0:1"}
    for _ in range(4):
        servers.infer()
    servers.sent.clear()
    now += 1.1
    for _ in range(4):
        servers.infer()
    asked = [s for s in servers.sent if s.address.target == "server0:1"]
    assert [s.request for s in asked] == [Question("ready")], "no call is risked, and it rests for longer"
    assert asked[0].deadline.seconds <= 1
    servers.dead = set()
    now += 2.1
    servers.sent.clear()
    for _ in range(4):
        servers.infer()
    assert servers.inferred().count("server0:1") == 2


@pytest.mark.parametrize(("start", "failure"), [(True, BROKEN), (True, LATE), (False, REFUSED), (False, FULL)])
def test_a_sequence_is_not_sent_again_in_its_middle(start: bool, failure: ClientError) -> None:
    servers = Servers(2, stateful=True, repeatable=True)
    servers.scripts = {target: [failure] for target in servers.scripts}
    with pytest.raises(type(failure)):
        servers.infer(X[0], step=Step(7, start=start, end=False))
    assert len(servers.inferred()) == 1


def test_a_sequence_stays_where_it_began() -> None:
    servers = Servers(3, stateful=True)
    servers.dead = {"server0:1", "server1:1"}
    first = Step(7, start=True, end=False)
    for _ in range(3):
        servers.infer(X[0], step=first)
        servers.dead = set()
        for end in (False, False, True):
            servers.infer(X[0], step=Step(7, start=False, end=end, route=first.route))
    assert set(servers.inferred()[-12:]) == {"server2:1"}


def test_a_sequence_stays_with_the_version_that_it_began_with() -> None:
    servers = Servers(stateful=True)
    first = Step(7, start=True, end=False)
    servers.infer(X[0], step=first)
    servers.version = "2"  # goes live
    for end in (False, True):
        servers.infer(X[0], step=Step(7, start=False, end=end, route=first.route))
    servers.infer(X[0], step=Step(8, start=True, end=False))
    asked = [sending.request.version for sending in servers.sent if isinstance(sending.request, Inference)]
    assert asked == ["", "1", "1", ""]


def test_metadata_is_asked_once_and_again_when_another_version_answers() -> None:
    servers = Servers()
    for _ in range(3):
        servers.infer()
    assert sum(isinstance(sending.request, Question) for sending in servers.sent) == 2
    servers.version, servers.metadata = "2", METADATA | {"versions": ["2"]}
    servers.infer()
    assert servers.run(servers.operations.metadata("model")).versions == ("2",)


def changed(servers: Servers) -> None:
    servers.metadata = METADATA | {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]}


def test_a_model_that_was_replaced_is_asked_about_anew() -> None:
    """What it takes now is sent; what it takes no longer is told with what is allowed now."""
    servers = Servers()
    servers.infer()
    changed(servers)
    assert servers.infer(np.ones((1, 3), np.float32)).shape == (1, 3)
    servers = Servers()
    servers.infer()
    changed(servers)
    servers.scripts["server0:1"] = [NO]
    with pytest.raises(WrongTensor, match=r"got FP32 \[4, 2\], allowed is FP32 \[batch, 3\]"):
        servers.infer()
    servers = Servers()
    servers.infer()
    servers.scripts["server0:1"] = [NO]
    with pytest.raises(Refused, match=r"^no$"):
        servers.infer()
    assert len(servers.inferred()) == 2, "nothing has changed: it is not sent again"


@pytest.mark.parametrize(
    "wrong", [{"x": X.astype(int)}, {"x": X.T}, {"z": X}, {}, {"x": None}, {"x": [[1], [2, 3]]}, {"x": ["a"]}]
)
def test_a_wrong_tensor_is_told_before_anything_is_sent(wrong: Any) -> None:
    servers = Servers()
    with pytest.raises(WrongTensor, match="x"):
        servers.run(servers.operations.infer("model", wrong))
    with pytest.raises(WrongTensor, match="no output 'z', allowed are: y"):
        servers.infer(outputs=["z"])
    assert servers.inferred() == []


def test_empty_batches_and_steps_of_the_wrong_kind_are_not_sent() -> None:
    servers = Servers()
    assert servers.infer(X[:0]).shape == (0, 2)
    with pytest.raises(WrongKind, match="keeps no state"):
        servers.infer(step=Step(1, start=True, end=False))
    with pytest.raises(WrongKind, match=r"call it through Client\.sequence"):
        Servers(stateful=True).infer(X[0])
    with pytest.raises(WrongTensor, match="one item, got a batch of 4"):
        Servers(stateful=True).infer(step=Step(1, start=True, end=False))
    assert servers.inferred() == []


def test_of_several_parts_only_those_without_an_answer_are_sent_again() -> None:
    servers = Servers()
    servers.scripts["server0:1"] = [FULL, REFUSED]
    many = np.arange(40, dtype=np.float32).reshape(20, 2)
    np.testing.assert_array_equal(servers.infer(many), 2 * many)
    assert len(servers.inferred()) == 5 + 2
    servers.scripts["server0:1"] = [FULL, BROKEN]
    with pytest.raises(Unreachable, match="broke"):
        servers.infer(many)
    assert len(servers.inferred()) == 7 + 5


def test_observers_see_each_call_and_may_add_headers() -> None:
    seen: list[tuple[str, str, int, int, float, BaseException | None]] = []

    class Tracing:
        def begun(self, call: Call) -> None:
            call.headers["traceparent"] = "00-1-2-01"

        def ended(self, call: Call, seconds: float, error: BaseException | None) -> None:
            seen.append((call.operation, call.model, call.batch, call.retries, seconds, error))

    servers = Servers(headers=lambda: {"a": "b"})
    servers.operations.observers.append(Tracing())
    servers.scripts["server0:1"] = [FULL]
    servers.infer()
    assert [(*entry[:4], entry[5]) for entry in seen] == [("infer", "model", 4, 1, None)]
    assert all(sending.headers == {"a": "b", "traceparent": "00-1-2-01"} for sending in servers.sent)
    servers.scripts["server0:1"] = [NO]
    with pytest.raises(Refused) as told:
        servers.infer()
    assert seen[-1][5] is told.value


@pytest.mark.parametrize("making", [connect, connect_async])
@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), 1e12, None, "3", True])
def test_a_timeout_that_cannot_be_kept_is_refused(making: Callable[..., Any], timeout: Any) -> None:
    with pytest.raises(ClientError, match="allowed are seconds above 0, at most"):
        making("localhost:1", timeout=timeout)
    if timeout is not None:
        with pytest.raises(ClientError, match="allowed are seconds above 0, at most"):
            Servers().infer(timeout=timeout)


@pytest.mark.parametrize("making", [connect, connect_async])
def test_servers_of_one_client_speak_one_protocol(making: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="all servers of one client speak the same protocol"):
        making(["http://a:1", "grpc://b:1"])
    with pytest.raises(ClientError, match="an empty list of servers"):
        making([])
    with pytest.raises(ClientError, match=r"priority=-1: allowed are 1, 2, .*, and 0, the"):
        making("a:1", priority=-1)
    with pytest.raises(ClientError, match="attempts=0"):
        making("a:1", attempts=0)
    for headers in {"a b": "c"}, {"": "c"}, {"a": "secret\nb: c"}, {"a": "secret\xfc"}:
        with pytest.raises(ClientError, match=r"^header '.*': a (name is made|value is printable)") as told:
            making("a:1", headers=headers)
        assert "secret" not in str(told.value)
