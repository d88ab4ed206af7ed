"""The parts of `serving tune` that need no server: candidates, the search, the decision, the progress, the writing."""

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from serving.commands.durations import seconds_of
from serving.commands.tune import Order, finish, prepare, users_of
from serving.errors import ServingError
from serving.repository.configuration import parse, render
from serving.tune.candidates import Candidate, axes, largest_proven_batch, placements
from serving.tune.latency_limit import LatencyLimit
from serving.tune.load import LoadFailed, Point, check_installed
from serving.tune.progress import Progress, key_of, load_progress
from serving.tune.report import front, result_document
from serving.tune.search import Decision, TimeUp, decide, finalists, search
from serving.tune.write import write_winner

CURRENT = Candidate("cnn", 2, 1, 32, 200)
CONFIG = """
name: "cnn"
backend: "onnxruntime"
max_batch_size: 32
input { name: "image" data_type: TYPE_UINT8 dims: [28, 28, 1] }
output { name: "probabilities" data_type: TYPE_FP32 dims: [10] label_filename: "labels.txt" }
dynamic_batching { preferred_batch_size: [8, 32] max_queue_delay_microseconds: 200 preserve_ordering: true }
instance_group { count: 2 kind: KIND_CPU }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
parameters { key: "my_own" value { string_value: "kept" } }
model_warmup { name: "batch of 1" batch_size: 1 inputs { key: "image" value {
  data_type: TYPE_UINT8 dims: [28, 28, 1] input_data_file: "1/image" } } }
model_warmup { name: "batch of 32" batch_size: 32 inputs { key: "image" value {
  data_type: TYPE_UINT8 dims: [28, 28, 1] input_data_file: "1/image" } } }
"""


def point(rate: float, p99: float | None = 5.0, users: int = 16) -> Point:
    return Point(users, rate, 1.0, p99, 0.5)


def test_a_candidate_is_read_from_a_configuration_and_put_into_it() -> None:
    config = parse(CONFIG)
    assert Candidate.of(config) == CURRENT
    assert CURRENT.apply(config) == config
    wanted = Candidate("cnn", 1, 2, 8, 1000)
    changed = wanted.apply(config)
    assert Candidate.of(parse(render(changed))) == wanted
    assert list(changed.dynamic_batching.preferred_batch_size) == [8]
    assert changed.dynamic_batching.preserve_ordering
    assert changed.parameters["my_own"].string_value == "kept"
    assert changed.instance_group[0].kind == ModelInstanceGroup.KIND_CPU
    assert max(sample.batch_size for sample in changed.model_warmup) == 8
    assert Candidate.of(config) == CURRENT, "the original is not touched"


def test_no_delay_is_no_dynamic_batching() -> None:
    config = parse(CONFIG)
    config.ClearField("dynamic_batching")
    assert Candidate.of(config).delay is None
    assert not replace(CURRENT, delay=None).apply(parse(CONFIG)).HasField("dynamic_batching")
    assert replace(CURRENT, delay=0).apply(config).HasField("dynamic_batching")


def test_what_cannot_be_searched_is_refused() -> None:
    sequences = parse(CONFIG)
    sequences.ClearField("dynamic_batching")
    sequences.sequence_batching.SetInParent()
    with pytest.raises(ServingError, match="keeps a state for each sequence"):
        Candidate.of(sequences)
    groups = parse(CONFIG)
    groups.instance_group.add(count=1)
    with pytest.raises(ServingError, match="2 instance groups"):
        Candidate.of(groups)


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 16])
def test_no_placement_has_more_threads_than_cores(cores: int) -> None:
    found = placements(cores)
    assert all(instances * threads <= cores for instances, threads in found)
    assert (cores, 1) in found
    assert (1, cores) in found
    assert found[0] == (cores, 1), "the likely best first"


def test_axes_leave_out_what_a_model_does_not_have() -> None:
    assert [axis.name for axis in axes(CURRENT, ["cnn_int8"], 32, 2)] == [
        "precision", "instances x threads", "queue delay", "maximum batch",
    ]  # fmt: skip
    assert [axis.name for axis in axes(replace(CURRENT, max_batch=0, delay=None), [], 0, 2)] == ["instances x threads"]
    batches = axes(CURRENT, [], 32, 2)[-1].around(CURRENT)
    assert [candidate.max_batch for candidate in batches] == [16, 8, 4]


def test_a_lowered_batch_can_be_raised_again_to_what_is_proven(tmp_path: Path) -> None:
    assert largest_proven_batch(tmp_path, 8) == 8
    (tmp_path / "parity.json").write_text(json.dumps({"cells": [{"batch": 1}, {"batch": 32}]}))
    assert largest_proven_batch(tmp_path, 8) == 32
    (tmp_path / "parity.json").write_text("[{}]")
    assert largest_proven_batch(tmp_path, 8) == 8


@pytest.mark.parametrize("text", ["p99=5ms", "p99<5ms", " p99 <= 5.0 ms"])
def test_promises_are_read(text: str) -> None:
    assert LatencyLimit.parse(text) == LatencyLimit("p99", 5.0)


@pytest.mark.parametrize("text", ["", "p99", "p99=0ms", "p99=5", "p95=5ms", "fast"])
def test_other_promises_are_refused(text: str) -> None:
    with pytest.raises(ServingError, match="expected p50 or p99"):
        LatencyLimit.parse(text)


def test_a_broken_or_unknown_latency_counts_as_nothing_served() -> None:
    promise = LatencyLimit.parse("p99=5ms")
    assert promise.score(point(100, 5.0)) == 100
    assert promise.score(point(100, 5.1)) == 0
    assert promise.score(point(100, None)) == 0
    assert promise.best([point(90, 2.0), point(120, 9.0), point(100, 4.0)]) == point(100, 4.0)
    assert LatencyLimit().score(point(100, None)) == 100


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("1.5m", 90)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of("--time", text) == seconds


@pytest.mark.parametrize("text", ["0s", "5", "-1m", "soon", ""])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ServingError, match="--time"):
        seconds_of("--time", text)


def test_users_are_sorted_and_checked() -> None:
    assert users_of((16, 4, 4)) == (4, 16)
    for wrong in ((), (0, 4)):
        with pytest.raises(ServingError, match="--users"):
            users_of(wrong)


def truth(candidate: Candidate) -> list[Point]:
    """A machine on which one thread, no delay and a batch of 8 are best, and int8 doubles everything."""
    rate = 1000.0 * (2 if candidate.model.endswith("int8") else 1)
    rate += {(1, 1): 300, (2, 1): 200}.get((candidate.instances, candidate.threads), 0)
    rate -= 0.02 * (candidate.delay or 0) + abs(candidate.max_batch - 8)
    return [point(rate)]


def test_the_search_finds_the_best_and_stops() -> None:
    measured: dict[Candidate, list[Point]] = {}

    def measure(candidate: Candidate) -> list[Point]:
        return measured.setdefault(candidate, truth(candidate))

    assert search(CURRENT, axes(CURRENT, ["cnn_int8"], 32, 2), measure, LatencyLimit())
    best, second = (candidate for candidate, _ in finalists(measured, CURRENT, LatencyLimit()))
    assert best == Candidate("cnn_int8", 1, 1, 8, 0)
    assert second != CURRENT
    assert len(measured) < 25
    assert next(iter(measured)) == CURRENT, "the current one is measured first"


def test_the_search_ends_with_its_time_and_goes_on() -> None:
    measured: dict[Candidate, list[Point]] = {}

    def measure(candidate: Candidate) -> list[Point]:
        if candidate not in measured:
            if len(measured) >= allowed:
                raise TimeUp
            measured[candidate] = truth(candidate)
        return measured[candidate]

    allowed = 3
    dimensions = axes(CURRENT, [], 32, 2)
    assert not search(CURRENT, dimensions, measure, LatencyLimit())
    assert len(measured) == 3
    allowed = 100
    assert search(CURRENT, dimensions, measure, LatencyLimit())
    assert finalists(measured, CURRENT, LatencyLimit())[0][0] == Candidate("cnn", 1, 1, 8, 0)


OTHER = replace(CURRENT, instances=1)


def rounds(current: list[float], other: list[float]) -> dict[Candidate, list[Point]]:
    return {CURRENT: [point(rate) for rate in current], OTHER: [point(rate) for rate in other]}


def test_a_winner_is_better_in_its_worst_round_than_the_current_one_in_its_best() -> None:
    assert decide(CURRENT, rounds([100, 110, 105], [111, 130, 120]), LatencyLimit()).winner == OTHER
    kept = decide(CURRENT, rounds([100, 110, 105], [109, 130, 120]), LatencyLimit())
    assert kept.winner is None
    assert "not better beyond the noise" in kept.reason


def test_two_rounds_decide_nothing() -> None:
    kept = decide(CURRENT, rounds([100, 110], [200, 210]), LatencyLimit())
    assert kept == Decision(None, "only 2 rounds of the comparison fitted into --time, it takes 3")
    assert decide(CURRENT, {}, LatencyLimit()).winner is None


def test_a_promise_broken_once_is_no_winner() -> None:
    promise = LatencyLimit("p99", 5.0)
    found = rounds([100] * 3, [200] * 3)
    found[OTHER][1] = point(200, 5.5)
    assert decide(CURRENT, found, promise).winner is None
    found = rounds([100] * 3, [80] * 3)
    found[CURRENT] = [point(100, 6.0)] * 3
    assert decide(CURRENT, found, promise).winner == OTHER, "the current one keeps its promise never"


def test_the_front_has_no_point_that_another_beats_in_both() -> None:
    results = {CURRENT: [point(100, 1.0), point(150, 4.0)], OTHER: [point(120, 2.0), point(140, 5.0), point(1, None)]}
    assert [(one.requests_per_s, one.p99_ms) for _, one in front(results)] == [(100, 1.0), (120, 2.0), (150, 4.0)]


def test_progress_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "tune" / "state.json"
    progress = Progress(
        "key", {CURRENT: [point(1, None)], OTHER: []}, {OTHER: "too large"}, True, 12.5, rounds([1], [2]), 60
    )
    progress.save(file)
    assert load_progress(file, "key") == progress
    assert load_progress(file, "another") == Progress("another")
    file.write_text(file.read_text()[:-40])
    assert load_progress(file, "key") == Progress("key"), "a damaged file is a new search"
    assert load_progress(tmp_path / "none.json", "key") == Progress("key")


def test_another_file_or_setting_is_another_search(tmp_path: Path) -> None:
    file = tmp_path / "config.pbtxt"
    file.write_text("a")
    first = key_of([file], "p99", (4, 16))
    assert key_of([file], "p99", (4, 16)) == first
    assert key_of([file], "p99", (4,)) != first
    file.write_text("b")
    assert key_of([file], "p99", (4, 16)) != first


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    version = tmp_path / "models" / "cnn" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(b"onnx")
    (version / "golden.npz").write_bytes(b"golden")
    (version / "manifest.json").write_text(
        json.dumps({"model": "cnn", "sha256": {"onnx": "1", "config": hashlib.sha256(CONFIG.encode()).hexdigest()}})
    )
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return tmp_path / "models"


def test_the_winner_is_written_with_its_hash(repository: Path) -> None:
    version = repository / "cnn" / "1"
    file = write_winner(repository, OTHER, CONFIG, version, "faster")
    assert Candidate.of(parse(file.read_text())) == OTHER
    assert "# Copies of the model" in file.read_text()
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["sha256"] == {"onnx": "1", "config": key_hash(file)}
    assert manifest["tuned"]["from"]["instances"] == 2
    assert manifest["tuned"]["to"]["instances"] == 1
    assert sorted(entry.name for entry in repository.parent.iterdir()) == ["models"], "nothing half-written is left"
    assert sorted(entry.name for entry in (repository / "cnn").iterdir()) == ["1", "config.pbtxt"]


def key_hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_configuration_that_changed_meanwhile_is_not_overwritten(repository: Path) -> None:
    (repository / "cnn" / "config.pbtxt").write_text(CONFIG + "# by hand")
    with pytest.raises(ServingError, match="was changed since it was measured"):
        write_winner(repository, OTHER, CONFIG, repository / "cnn" / "1", "faster")
    assert (repository / "cnn" / "config.pbtxt").read_text().endswith("# by hand")


def order(repository: Path, model: str = "cnn") -> Order:
    return Order(model, repository, repository.parent / "tune", LatencyLimit(), 60, (4,), 1, 2)


def test_everything_wrong_is_told_before_anything_is_measured(repository: Path) -> None:
    console = Console(quiet=True)
    with pytest.raises(ServingError, match="there is no model 'dog'"):
        prepare(order(repository, "dog"), console, fresh=False)
    (repository / "cnn" / "config.pbtxt").write_text("name: 3")
    with pytest.raises(ServingError, match="no valid config"):
        prepare(order(repository), console, fresh=False)
    (repository / "cnn" / "config.pbtxt").write_text(CONFIG)
    (repository / "cnn" / "1" / "golden.npz").unlink()
    with pytest.raises(ServingError, match=r"no golden\.npz"):
        prepare(order(repository), console, fresh=False)


def test_only_write_touches_the_repository(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = repository / "cnn" / "config.pbtxt"
    tuner = prepare(order(repository), Console(), fresh=False)
    tuner.progress.searched = rounds([100], [200])
    finish(tuner, Decision(OTHER, "faster"), write=False)
    assert file.read_text() == CONFIG
    assert "Nothing is written" in capsys.readouterr().out
    finish(tuner, Decision(None, "no better"), write=True)
    assert file.read_text() == CONFIG
    assert "Keep what you have: no better." in capsys.readouterr().out
    finish(tuner, Decision(replace(OTHER, max_batch=8), "faster"), write=True)
    assert Candidate.of(parse(file.read_text())) == replace(OTHER, max_batch=8)
    assert "refuses requests of more than 8 items" in " ".join(capsys.readouterr().out.split())
    assert (repository.parent / "tune" / "front.png").stat().st_size > 1000
    said = json.loads(json.dumps(result_document(tuner, Decision(OTHER, "faster"), file)))
    assert (said["winner"], said["written"]) == (OTHER.as_json(), str(file))
    assert set(said["searched"][0]) == {"candidate", "points", "reason"}
    assert set(said["searched"][0]["points"][0]) == {"users", "requests_per_s", "p50_ms", "p99_ms", "generator_cpu"}


class FakeServer:
    """Measures as `truth` says, refuses one placement, and breaks a promise of 5 ms above 8 users."""

    def __init__(self) -> None:
        self.asked: list[tuple[Candidate, int]] = []

    def measure(self, candidate: Candidate, users: int, _: int) -> Point:
        self.asked.append((candidate, users))
        if (candidate.instances, candidate.threads) == (1, 2):
            raise LoadFailed("model 'cnn' did not load: too many threads")
        (found,) = truth(candidate)
        return replace(found, users=users, p99_ms=users / 2, requests_per_s=found.requests_per_s * users)


def test_a_tuner_measures_once_goes_up_until_the_promise_breaks_and_compares(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeServer()
    monkeypatch.setattr("serving.tune.tuner.trial_server", lambda *_: contextlib.nullcontext(server))
    wanted = replace(order(repository), promise=LatencyLimit("p99", 5.0), users=(4, 8, 16, 64))
    tuner = prepare(wanted, Console(quiet=True), fresh=False)
    assert tuner.run().winner == Candidate("cnn", 1, 1, 8, 0)
    first = [users for candidate, users in server.asked if candidate == CURRENT][:4]
    assert first == [4, 8, 16, 8], "up to the first that breaks the promise, then in the comparison with the best"
    assert set(tuner.progress.reasons.values()) == {"model 'cnn' did not load: too many threads"}
    assert [len(points) for points in tuner.progress.rounds.values()] == [5, 5, 5]

    asked = len(server.asked)
    again = prepare(wanted, Console(quiet=True), fresh=False)
    assert again.complete
    assert again.run().winner == Candidate("cnn", 1, 1, 8, 0)
    assert len(server.asked) == asked, "the same command shows what was found"
    assert not prepare(wanted, Console(quiet=True), fresh=True).progress.searched
    assert not prepare(replace(wanted, seconds=2), Console(quiet=True), fresh=False).progress.searched


def test_without_the_load_test_nothing_is_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServingError, match=r"conch load"):
        check_installed()
