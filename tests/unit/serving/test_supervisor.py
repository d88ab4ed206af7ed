"""What ends is started again, what has lost a process is loaded anew, not without end. The server is a mock."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ServingError
from serving.kserve.endpoint import ModelState
from serving.server import events, supervisor
from serving.server.backoff import Backoff
from serving.server.model_views import MARK, mark_all
from serving.server.stubs import Death
from serving.server.supervisor import RESTARTS, Supervisor


class Watch:
    def __init__(self) -> None:
        self.dead: list[Death] = []
        self.alive = {1: ("times", "times_0_0"), 2: ("times", "times_0_1"), 3: ("other", "other_0_0")}
        self.retired: set[int] = set()

    def deaths(self) -> list[Death]:
        found, self.dead = self.dead, []
        return found

    def living(self) -> dict[int, tuple[str, str]]:
        return dict(self.alive)

    def retire(self, pids: set[int]) -> None:
        self.retired |= pids


class MockServer:
    """A `Server` without a process."""

    http = grpc = "127.0.0.1:9"

    def __init__(self, folder: Path) -> None:
        self.repository, self.models = folder / "models", folder / "links"
        for model in ("times", "other"):
            (self.repository / model / "1").mkdir(parents=True)
        self.models.symlink_to(self.repository)
        mark_all(self.models, self.repository)
        self.watch = Watch()
        self.not_loaded: list[ModelState] = []
        self.ended: str | None = None
        self.fails_to_start = 0
        self.restarted = 0

    def check_process(self) -> None:
        if self.ended:
            raise ServingError(self.ended)

    def kill(self) -> None:
        self.ended = self.ended or "was killed"

    def restart(self) -> None:
        self.restarted += 1
        if self.fails_to_start:
            self.fails_to_start -= 1
            raise ServingError("tritonserver ended with exit code 1")
        self.ended = None

    def die(self, pid: int) -> None:
        model, instance = self.watch.alive.pop(pid)
        self.watch.dead.append(Death(model, instance, 9, False, pid))


class MockControl:
    """What orders loads; each fails while `reason` is set."""

    loaded: list[str]
    unloaded: list[str]
    reason: str

    def __init__(self, address: str) -> None:
        pass

    def __enter__(self) -> "MockControl":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def load(self, model: str) -> None:
        MockControl.loaded.append(model)
        if MockControl.reason:
            raise ServingError(MockControl.reason)

    def unload(self, model: str) -> None:
        MockControl.unloaded.append(model)


class Silent:
    """A server that answers."""

    def __init__(self, address: str) -> None:
        pass

    def check(self) -> None:
        pass

    answered = close = check


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MockServer:
    MockControl.loaded, MockControl.unloaded, MockControl.reason = [], [], ""
    monkeypatch.setattr(supervisor, "Control", MockControl)
    monkeypatch.setattr(supervisor, "ControlClient", MockControl)
    monkeypatch.setattr(supervisor, "Liveness", Silent)
    monkeypatch.setattr(supervisor, "Backoff", lambda first, longest, forget: Backoff(0.05, 0.2, forget))
    return MockServer(tmp_path)


@pytest.fixture
def told() -> Iterator[list[events.Event]]:
    found: list[events.Event] = []
    with events.listening(found.append):
        yield found


def supervised(server: MockServer, **options: Any) -> Supervisor:
    return Supervisor(server, **{"loads": True, **options})  # type: ignore[arg-type]


def look_until(found: Supervisor, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        found.look()
        time.sleep(0.01)


def test_a_model_that_has_lost_a_process_is_loaded_anew_alone(server: MockServer, told: list[events.Event]) -> None:
    with supervised(server) as found:
        mark = server.models / "times" / MARK
        before = mark.stat().st_mtime_ns
        server.die(1)
        server.die(2)
        found.look()
        look_until(found, lambda: not found.troubles)
        assert MockControl.loaded == ["times"], "both at once are one load"
        assert mark.stat().st_mtime_ns > before, "Triton loads what has changed"
        assert not (server.repository / "times" / MARK).exists()
        assert [event.event for event in told] == ["backend_process_died", "backend_process_died", "model_reloaded"]
        server.die(3)
        look_until(found, lambda: MockControl.loaded == ["times", "other"])


def test_what_a_load_replaces_is_loaded_no_second_time(server: MockServer) -> None:
    with supervised(server) as found:
        server.die(1)
        look_until(found, lambda: server.watch.retired == {2})
        look_until(found, lambda: not found.troubles)
        assert MockControl.loaded == ["times"]


def test_a_load_that_fails_is_tried_again_and_the_server_says_what_is_true(
    server: MockServer, told: list[events.Event]
) -> None:
    with supervised(server) as found:
        MockControl.reason = f"load failed: {server.models}/times/1/model.onnx is no model"
        server.die(1)
        look_until(found, lambda: len(MockControl.loaded) == 2)
        assert MockControl.unloaded == [], "one of two still answers"
        assert found.troubles == {"times": f"load failed: {server.repository}/times/1/model.onnx is no model"}
        server.die(2)
        look_until(found, lambda: MockControl.unloaded)
        assert MockControl.unloaded[0] == "times", "nothing answers: Triton is to say so"
        MockControl.reason = ""
        look_until(found, lambda: not found.troubles)
        assert {event.level for event in told if event.event == "model_reload_failed"} == {"error"}


def test_a_model_that_is_unwell_is_loaded_anew_alone(server: MockServer, told: list[events.Event]) -> None:
    with supervised(server) as found:
        found.unwell("times", "3 times running it was wrong")
        found.unwell("times", "4 times running it was wrong")
        found.look()
        assert found.troubles == {"times": "3 times running it was wrong"}
        look_until(found, lambda: not found.troubles)
        assert MockControl.loaded == ["times"], "it was being looked after"
        assert server.watch.retired == {1, 2}, "what is left of it is not waited for"
        assert [event.event for event in told] == ["model_unwell", "model_reloaded"]


def test_without_orders_to_load_a_death_is_told(server: MockServer, told: list[events.Event]) -> None:
    with supervised(server, loads=False) as found:
        server.die(1)
        for _ in range(3):
            found.look()
        assert "times" in found.troubles
        assert MockControl.loaded == []
        assert [event.level for event in told] == ["error"]
        assert "until the server is started again" in told[0].message


def test_a_candidate_of_a_rollout_is_left_to_it(server: MockServer) -> None:
    with supervised(server) as found:
        server.watch.alive[9] = ("times-candidate", "times-candidate_0_0")
        server.die(9)
        found.look()
        assert found.troubles == {}
        assert MockControl.loaded == []


def test_a_server_that_ends_is_started_again_with_its_reason(server: MockServer, told: list[events.Event]) -> None:
    with supervised(server) as found:
        changes: list[int] = []
        found.on_change = lambda: changes.append(len(found.restarts))
        server.ended, server.fails_to_start = "tritonserver was killed by SIGSEGV", 1
        server.not_loaded = [ModelState("other", "1", "UNAVAILABLE", "no")]
        found.look()
        assert server.restarted == 2
        assert found.restarts == ["tritonserver was killed by SIGSEGV", "tritonserver ended with exit code 1"]
        names = [event.event for event in told]
        assert names == ["server_died", "server_died", "server_restarted", "model_not_loaded"]
        assert changes[-1] == 2
        found.look()
        assert server.restarted == 2


def test_one_that_keeps_ending_is_given_up(server: MockServer) -> None:
    with supervised(server) as found:
        for _ in range(RESTARTS):
            server.ended = "tritonserver was killed by SIGABRT"
            found.look()
        server.ended = "tritonserver was killed by SIGABRT"
        with pytest.raises(
            ServingError, match=f"^tritonserver was killed by SIGABRT; it was started again {RESTARTS} "
        ):
            found.look()
