"""More than a server can answer: it answers what it can in time and refuses the rest at once; who is first is first."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from clients import connect
from clients.errors import Overloaded
from conch.contracts.scheduling import Scheduling
from serving.repository.configuration import parse, render
from serving.repository.queueing import set_scheduling
from serving.server.server import Server
from tests.support.overload import CALM_S, Overload, overload, publish_slow, quantile

SLOW = "slow"
P99_MS = 2000.0
MAX_BATCH = 8
SLEEP_S = 0.05
FACTOR = 3
# Says when it began and ended, by a clock that all processes of a Linux machine share.
SLEEPER = f"""
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for _ in requests:
            began = time.monotonic()
            time.sleep({SLEEP_S})
            span = np.array([[began, time.monotonic()]])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("span", span)]))
        return responses
"""
SLEEPERS = {
    "ranked": Scheduling(priorities=2, queue_timeout_ms=10_000),  # nobody is refused on a busy machine either
    "full": Scheduling(queue_size=2),
    "tired": Scheduling(queue_timeout_ms=1000 * SLEEP_S / 2),
    "one": Scheduling(resources={"memory": 1}),
    "other": Scheduling(resources={"memory": 1}),
    "free": Scheduling(),
    "as free": Scheduling(),
}


def write_sleeper(repository: Path, name: str, scheduling: Scheduling) -> None:
    version = repository / name.replace(" ", "_") / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(SLEEPER)
    said = ModelConfig(name=version.parent.name, backend="python", max_batch_size=1)
    said.input.add(name="x", data_type=DataType.TYPE_FP32, dims=[1])
    said.output.add(name="span", data_type=DataType.TYPE_FP64, dims=[2])
    said.instance_group.add(count=1)
    set_scheduling(said, scheduling)
    (version.parent / "config.pbtxt").write_text(render(said))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("overload")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        publish_slow(folder, SLOW, P99_MS, MAX_BATCH)
        for name, scheduling in SLEEPERS.items():
            write_sleeper(folder / "models", name, scheduling)
        yield folder


@pytest.fixture(scope="module")
def server(artifacts: Path) -> Iterator[Server]:
    with Server(artifacts / "models", http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


@pytest.mark.timing
@pytest.mark.parametrize(
    ("protocol", "seconds"),
    [("http", 4), pytest.param("http", 30, marks=pytest.mark.long), pytest.param("grpc", 30, marks=pytest.mark.long)],
)
def test_past_its_capacity_it_keeps_its_promise_to_those_it_serves(
    server: Server, artifacts: Path, protocol: str, seconds: int
) -> None:
    with Probe(server, protocol) as probe:
        found: Overload = overload(server, artifacts, SLOW, protocol, FACTOR, seconds)
    assert found.sent > 0.9 * found.planned, "the generator reached it"
    assert found.sent >= FACTOR * found.served, "which was three times what was answered"
    assert found.served > 0.5 * found.capacity
    # A machine half as fast by now as when it was published cannot keep it; then nobody waits but for a full queue.
    policy = parse((artifacts / "models" / SLOW / "config.pbtxt").read_text()).dynamic_batching.default_queue_policy
    longest_s = 1.6 * (policy.max_queue_size + 2 * MAX_BATCH) / min(found.capacity, found.served)
    assert found.p99_ms < max(P99_MS, 1000 * longest_s)
    part = found.part
    assert part["wrong_answers"] == 0
    assert part["refused"] == part["failures"] > found.seconds
    assert all("maximum queue size" in error["error"] for error in found.run["errors"])
    before, after = found.memory()
    assert after < 1.1 * before + 8, "MiB: it keeps no more than before"
    end = CALM_S + seconds
    assert found.counted(0, CALM_S)[1] == 0
    sent, failed, times = found.counted(end + 2, end + CALM_S)
    assert sent > 0
    assert failed == 0, "two seconds later it answers everybody"
    assert quantile(times, 0.99) < P99_MS / 2
    assert probe.refused, "those who asked meanwhile were told"
    assert np.median([took for took, _ in probe.refused]) < found.part["answered_ms"]["p50"] / 1000 / 4, "at once"
    for _, said in probe.refused:
        assert said.endswith("has no room for the request now: [request id: <id_unknown>] Exceeds maximum queue size; "
                             "send less, or later")  # fmt: skip


class Probe:
    """A caller who asks ten times a second, and does not ask again when refused."""

    def __init__(self, server: Server, protocol: str) -> None:
        url = f"http://{server.http}" if protocol == "http" else f"grpc://{server.grpc}"
        self.client = connect(url, attempts=1)
        self.refused: list[tuple[float, str]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()
        self.client.close()

    def _ask(self) -> None:
        while not self._ended.wait(0.1):
            began = time.perf_counter()
            try:
                self.client.infer(SLOW, {"x": np.ones((1, 4), np.float32)})
            except Overloaded as error:
                self.refused.append((time.perf_counter() - began, str(error)))


@pytest.fixture(params=["http", "grpc"])
def span(server: Server, request: pytest.FixtureRequest) -> Iterator[Callable[..., tuple[float, float]]]:
    """When a request to a sleeper began and ended; by a client of a priority."""
    url = f"http://{server.http}" if request.param == "http" else f"grpc://{server.grpc}"
    clients = [connect(url, attempts=1, priority=priority) for priority in range(3)]

    def ask(model: str, priority: int = 0) -> tuple[float, float]:
        began, ended = clients[priority].infer(model, {"x": np.ones((1, 1), np.float32)})["span"][0]
        return float(began), float(ended)

    yield ask
    for client in clients:
        client.close()


def test_a_request_of_the_first_level_overtakes(span: Callable[..., tuple[float, float]]) -> None:
    span("ranked")  # asks what the model takes, which is no request to it
    with ThreadPoolExecutor(16) as pool:
        last = [pool.submit(span, "ranked", priority) for priority in [0, 2] * 4]
        time.sleep(2 * SLEEP_S)
        first = [pool.submit(span, "ranked", 1) for _ in range(2)]
    assert max(one.result()[0] for one in first) < sorted(other.result()[0] for other in last)[-2]


@pytest.mark.parametrize(("model", "words"), [("full", "Exceeds maximum queue size"), ("tired", "timeout expired")])
def test_what_waits_too_long_or_behind_too_many_is_refused(
    span: Callable[..., tuple[float, float]], model: str, words: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(span, model) for _ in range(8)]
    errors = [one.exception() for one in asked]
    assert errors.count(None) >= 1
    refused = [error for error in errors if error is not None]
    assert refused
    for error in refused:
        assert isinstance(error, Overloaded)
        assert words in str(error)


def test_models_that_share_a_resource_take_turns_and_others_do_not(span: Callable[..., tuple[float, float]]) -> None:
    def overlapping(one: str, other: str) -> bool:
        with ThreadPoolExecutor(8) as pool:
            spans = [[pool.submit(span, model) for _ in range(4)] for model in (one, other)]
        first, second = ([future.result() for future in futures] for futures in spans)
        return any(a[0] < b[1] and b[0] < a[1] for a in first for b in second)

    assert not overlapping("one", "other")
    assert overlapping("free", "as_free")


def test_a_server_with_more_of_a_resource_lets_more_run(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_sleeper(tmp_path / "models", name, SLEEPERS[name])
    with (
        Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0, resources={"memory": 2}) as server,
        connect(f"http://{server.http}") as client,
        ThreadPoolExecutor(2) as pool,
    ):
        x = {"x": np.ones((1, 1), np.float32)}
        one, other = (pool.submit(client.infer, model, x) for model in ("one", "other"))
        (began, ended), (began_other, ended_other) = one.result()["span"][0], other.result()["span"][0]
    assert began < ended_other
    assert began_other < ended
