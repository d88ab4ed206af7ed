"""What the supervisor tells of a server, by a server that answers as a test wants."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from prometheus_client import CollectorRegistry

from conch.contracts.live import Decision, decide
from conch.contracts.promises import Promise
from serving.commands.tables import models_table, server_document
from serving.errors import ServingError
from serving.guard.access import Access
from serving.kserve.endpoint import ModelState
from serving.monitoring.health import Health
from serving.monitoring.metrics import SupervisorMetrics
from serving.monitoring.monitor import Monitor
from serving.monitoring.page import last_answers, metrics_page, public_door
from serving.monitoring.question import Door, Question
from serving.repository.publish import publish
from serving.server.events import Event, emit, listening
from tests.support import graphs
from tests.support.authority import Authority
from tests.support.http_servers import Answering, answering

# The sum of what a sequence has picked, beginning with a value of its own; `begins` is told by the server.
PICKED = """
picked (int64[batch, 1] index, float[batch, 1] begins, float[batch, 1] sum_in)
    => (float[batch, 1] total, float[batch, 1] sum_out)
<float[4] table = {1, 10, 100, 1000}>
{ value = Gather(table, index)
  sum_out = Add(sum_in, value)
  total = Add(sum_out, begins) }
"""


class Behaviour:
    """What the server does now."""

    version = "1"
    ready: tuple[str, ...] = ("affine",)
    total = 4.0
    seconds = 0.0
    status = 200


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """ "host:port" of a server of the model `affine`, whose input is ones."""

    class Handler(Answering):
        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/index"):
                index = [{"name": n, "version": behaviour.version, "state": "READY"} for n in behaviour.ready]
                return self.answer(json.dumps(index).encode())
            time.sleep(behaviour.seconds)
            outputs: list[dict[str, Any]] = [
                {"name": "doubled", "datatype": "FP32", "shape": [1, 4], "data": [2.0] * 4},
                {"name": "total", "datatype": "FP32", "shape": [1, 1], "data": [behaviour.total]},
            ]
            answer = {"model_name": "affine", "model_version": behaviour.version, "outputs": outputs}
            return self.answer(json.dumps(answer).encode(), behaviour.status)

    with answering(Handler) as port:
        yield f"127.0.0.1:{port}"


def put(repository: Path, name: str = "affine") -> Path:
    file = graphs.write(graphs.AFFINE, repository.parent / "affine.onnx")
    return publish(
        file, name=name, repository=repository, max_batch_size=8, manifest={}, parity=[], golden=graphs.golden(file)
    )


def value(metrics: SupervisorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def answers(metrics: SupervisorMetrics) -> dict[str, float | None]:
    outcomes = ("right", "late", "wrong", "failed")
    return {one: value(metrics, "conch_probe_answers_total", model="affine", outcome=one) for one in outcomes}


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    events: list[Event] = []
    with listening(events.append):
        yield events


def monitor(repository: Path, address: str, metrics: SupervisorMetrics, *, probing: bool = True) -> Monitor:
    promises = {"affine": Promise(rate=10, error_rate=0.01, p99_ms=150)}
    return Monitor(repository, address, Door(f"http://{address}"), metrics, promises, 1.0, probing)


def test_a_probe_says_what_ready_does_not(tmp_path: Path, heard: list[Event]) -> None:
    put(tmp_path / "models")
    behaviour, metrics = Behaviour(), SupervisorMetrics()
    with serving(behaviour) as address:
        looking = monitor(tmp_path / "models", address, metrics)
        looking.look()
        looking.look()
        assert answers(metrics) == {"right": 2, "late": 0, "wrong": 0, "failed": 0}
        assert not heard, "what is well is not told"
        for change, outcome in (
            ({"total": 5.0}, "wrong"),
            ({"status": 500}, "failed"),
            ({"status": 200, "total": 4.0, "seconds": 0.2}, "late"),
            ({"seconds": 1.5}, "failed"),
            ({"seconds": 0.0}, "right"),
        ):
            vars(behaviour).update(change)
            before = answers(metrics)[outcome] or 0
            for _ in range(1 if behaviour.seconds > 1 else 2):
                looking.look()
            assert (answers(metrics)[outcome] or 0) > before
            assert value(metrics, "conch_model_ready", model="affine") == 1, "all the while the server says so"
    told = [(event.event, event.level) for event in heard]
    assert told == [
        ("probe_wrong", "error"), ("probe_failed", "error"), ("probe_late", "warning"), ("probe_failed", "error"),
        ("probe_recovered", "info"),
    ]  # fmt: skip
    assert "total: largest difference 1e+00" in heard[0].message
    assert "status 500" in heard[1].message
    looking.look()  # nobody answers any more
    assert heard[-1].event == "probe_failed"
    assert value(metrics, "conch_server_up") == value(metrics, "conch_public_endpoint_up") == 0
    assert value(metrics, "conch_model_ready", model="affine") == 0


def test_versions_and_rollouts_of_others_are_told(tmp_path: Path, heard: list[Event]) -> None:
    model = put(tmp_path / "models").parent
    put(tmp_path / "models")
    behaviour, metrics = Behaviour(), SupervisorMetrics()
    decide(model, Decision(1, None, "rollout"))
    with serving(behaviour) as address:
        looking = monitor(tmp_path / "models", address, metrics)
        looking.look()
        assert value(metrics, "conch_rollouts_total", model="affine", how="rollout") == 0, "what was before the start"
        behaviour.version = "2"
        looking.look()
        assert value(metrics, "conch_served_version", model="affine") == 2
        assert value(metrics, "conch_live_version", model="affine") == 1
        decide(model, Decision(2, 1, "rollout", "better"))
        looking.look()
    assert value(metrics, "conch_live_version", model="affine") == 2
    assert value(metrics, "conch_rollouts_total", model="affine", how="rollout") == 1
    (event,) = heard
    assert (event.event, event.version, event.fields["why"]) == ("version_live", 2, "better")
    assert answers(metrics) == {"right": 3, "late": 0, "wrong": 0, "failed": 0}


def test_without_probes_nothing_is_asked_and_what_cannot_be_asked_is_told_once(
    tmp_path: Path, heard: list[Event]
) -> None:
    version = put(tmp_path / "models")
    metrics = SupervisorMetrics()
    with serving(Behaviour()) as address:
        monitor(tmp_path / "models", address, metrics, probing=False).look()
        assert answers(metrics)["right"] is None
        assert value(metrics, "conch_model_ready", model="affine") == 1
        (version / "golden.npz").unlink()
        looking = monitor(tmp_path / "models", address, metrics)
        looking.look()
        looking.look()
    (event,) = heard
    assert event.event == "probe_impossible"
    assert "golden.npz is missing" in event.message


def test_events_are_counted_and_series_are_bounded_by_the_repository() -> None:
    metrics = SupervisorMetrics()
    with listening(metrics.heard):
        metrics.know(["cnn", "gan"], {"cnn": Promise(rate=10, error_rate=0.01, p99_ms=50)})
        emit("server_restarted", level="warning")
        for model in ("cnn", "cnn", "cnn-candidate", "gan"):
            emit("backend_process_died", level="warning", model=model)
        emit("model_reloaded", level="warning", model="gan")
        emit("guard_part_ended", level="warning", part="nginx")
    assert value(metrics, "conch_server_restarts_total") == 1
    assert value(metrics, "conch_guard_restarts_total") == 1
    assert value(metrics, "conch_dead_instances", model="cnn") == 2
    assert value(metrics, "conch_dead_instances", model="gan") == 0
    assert value(metrics, "conch_model_reloads_total", model="gan", result="loaded") == 1
    assert value(metrics, "conch_events_total", event="backend_process_died", level="warning") == 4
    assert value(metrics, "conch_promise_latency_seconds", model="cnn") == 0.05
    assert "cnn-candidate" not in models_of(metrics.registry)
    metrics.probed("cnn", "right", 0.01)
    metrics.know(["gan"], {})
    assert models_of(metrics.registry) == {"gan"}


def models_of(registry: CollectorRegistry) -> set[str]:
    samples = (sample for metric in registry.collect() for sample in metric.samples)
    return {sample.labels["model"] for sample in samples if "model" in sample.labels}


def test_the_first_request_of_a_sequence_is_asked_as_the_file_answers_it(tmp_path: Path) -> None:
    file = graphs.write(PICKED, tmp_path / "picked.onnx")
    golden = graphs.golden(file)
    version = publish(
        file, name="picked", repository=tmp_path / "models", max_batch_size=8, manifest={}, parity=[], golden=golden,
        states=(("sum_in", "sum_out"),), controls={"begins": "start"},
        initial_states={"sum_in": np.array([5], np.float32)},
    )  # fmt: skip
    assert golden["outputs/total"].item() == 12, "of a state that no client can send"
    assert Question.of(version).golden.outputs["total"].tolist() == [[5 + 10 + 1]]


def test_a_probe_takes_the_clients_way(tmp_path: Path) -> None:
    """Over TLS with the server's own certificate, without its authority, and with a token."""
    authority = Authority(tmp_path)
    certificate, other = tmp_path / "server.pem", tmp_path / "other.pem"
    certificate.write_bytes(authority.good.issued.cert_chain_pems[0].bytes())
    other.write_bytes(authority.bad["authority"].issued.cert_chain_pems[0].bytes())
    seen: list[str | None] = []

    class Handler(Answering):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.answer(b"", 401)

    with answering(Handler, authority.good.context()) as port:
        guard = {"http": f"https://127.0.0.1:{port}"}
        door = public_door("127.0.0.1:1", guard, Access(certificate, tokens=("secret" * 4,)))
        assert door.is_open(5.0), "somebody answers, be it that he lets nobody in"
        assert seen == [f"Bearer {'secret' * 4}"]
        assert not public_door("127.0.0.1:1", guard, Access(other)).is_open(5.0), "that is another server"
    assert public_door("127.0.0.1:1", guard, Access(certificate, client_ca=certificate)).url == "http://127.0.0.1:1"
    assert public_door("127.0.0.1:1", None, None).url == "http://127.0.0.1:1"


def test_series_are_as_many_as_the_page_says_and_the_last_answer_is_read_back() -> None:
    metrics = SupervisorMetrics()
    metrics.know(["cnn"], {"cnn": Promise(rate=10, error_rate=0.01, p99_ms=50)})
    for known in (metrics.ready, metrics.served, metrics.live):
        known.labels("cnn").set(1)
    with metrics_page(metrics, 0) as address:
        assert last_answers(address) == {}
        metrics.probed("cnn", "right", 0.01)
        metrics.probed("cnn", "wrong", 0.01)
        assert last_answers(address) == {"cnn": "wrong"}
    assert last_answers(address) == {}, "nobody is there any more"
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    of_the_model = [s for s in samples if s.labels.get("model") == "cnn" and not s.name.endswith("_created")]
    page = Path(__file__).parents[3] / "docs" / "operations.md"
    assert f"at most {len(of_the_model)} series a model" in page.read_text(encoding="utf-8")


def test_the_table_shows_the_answer_of_the_version_that_clients_get() -> None:
    states = [
        ModelState("cnn", "1", "READY", ""),
        ModelState("cnn", "2", "READY", ""),
        ModelState("gan", "1", "READY", ""),
    ]
    table = models_table(states, None, {"cnn": "wrong", "gone": "right"})
    assert [column.header for column in table.columns] == ["model", "version", "state", "probe"]
    assert list(table.columns[3].cells) == ["-", "[red]wrong[/]", "-"]
    document = server_document(states, "localhost:1", None, None, probed={"cnn": "wrong"})
    assert [model["probe"] for model in document["models"]] == [None, "wrong", None]


def test_health_is_how_golden_requests_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, behaviour, metrics, health = tmp_path / "models", Behaviour(), SupervisorMetrics(), Health()
    put(repository)
    with serving(behaviour) as address, metrics_page(metrics, 0, health) as page:
        door = Door(f"http://{address}")
        looking = Monitor(repository, address, door, metrics, {}, 1.0, True, health)

        def after(**change: Any) -> tuple[int, dict[str, str]]:
            for name, value in change.items():
                setattr(behaviour, name, value)
            looking.look()
            return told()

        def told() -> tuple[int, dict[str, str]]:
            answer = urllib3.request("GET", f"http://{page}/health", retries=False)
            return answer.status, answer.json()["faults"]

        assert told() == (503, {"server": "not looked at yet"})
        assert after() == (200, {})
        status, faults = after(total=5.0)
        assert status == 503
        assert faults["affine"].startswith("a golden request is answered wrong: ")
        assert after(total=4.0) == (200, {})
        assert after(seconds=1.5) == (503, {"affine": faults_of_silence(health)})
        assert after(seconds=0.0, status=503) == (200, {}), "a full queue says nothing against the answers"
        monkeypatch.setattr("serving.monitoring.monitor.REFUSED_SECONDS", 0.0)
        assert after()[0] == 503, "one that never empties does"
        assert after(status=500)[0] == 503
        assert after(status=200) == (200, {})
        assert after(ready=()) == (503, {"affine": "it is not ready"})
        later = time.monotonic() + 60
        monkeypatch.setattr("serving.monitoring.health.time.monotonic", lambda: later)
        assert told() == (503, {"server": "its models have not been looked at lately"})
        door.close()


def test_what_is_not_answered_right_for_some_rounds_is_to_be_loaded_anew_but_not_without_end(
    tmp_path: Path, heard: list[Event]
) -> None:
    repository, behaviour, asked = tmp_path / "models", Behaviour(), list[str]()
    put(repository)
    with serving(behaviour) as address:
        door = Door(f"http://{address}")
        looking = Monitor(
            repository,
            address,
            door,
            SupervisorMetrics(),
            {},
            1.0,
            True,
            None,
            lambda *told: asked.append(": ".join(told)),
        )

        def rounds(number: int, **change: Any) -> int:
            vars(behaviour).update(change)
            for _ in range(number):
                looking.look()
            return len(asked)

        assert rounds(2, total=5.0) == rounds(1, total=4.0) == rounds(2, total=5.0) == 0, "three running"
        assert rounds(1, status=500) == 1
        assert asked[0].startswith("affine: 3 times running a golden request is not answered: ")
        assert rounds(9, status=503) == 1, "a full queue is no illness"
        assert rounds(20, status=200) == 3, "and three loads without a right answer are enough"
        assert [event.event for event in heard].count("model_stays_unwell") == 1
        assert rounds(2, ready=()) == 3, "one that is not loaded is told as that"
        rounds(1, ready=("affine",), total=4.0)
        assert rounds(3, total=5.0) == 4, "it was well meanwhile"
        door.close()


def faults_of_silence(health: Health) -> str:
    said = health.faults["affine"]
    assert said.startswith("a golden request is not answered: ")
    return said


def test_a_repository_without_models_is_not_healthy() -> None:
    health = Health()
    health.seen(0, {}, 1.0)
    assert health.faults == {"server": "it has no models"}


def test_a_port_that_cannot_be_had_is_named_with_its_flag() -> None:
    with metrics_page(SupervisorMetrics(), 0) as address:
        port = int(address.rpartition(":")[2])
        with (
            pytest.raises(ServingError, match=f"port {port} .*--supervisor-metrics-port"),
            metrics_page(SupervisorMetrics(), port),
        ):
            pass
    assert "monitor" not in {thread.name for thread in threading.enumerate()}
