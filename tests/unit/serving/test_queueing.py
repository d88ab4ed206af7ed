"""A queue holds what is answered in time, and what a command line or a recipe says otherwise is what is written."""

import json
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelQueuePolicy

from conch.contracts.scheduling import Scheduling
from serving.commands.publish import main as publish
from serving.errors import ServingError
from serving.repository.configuration import parse, render
from serving.repository.queueing import promised_s, set_scheduling
from serving.repository.scheduling_choices import SchedulingChoices
from tests.support import graphs

MS = 1000


def config(max_batch: int = 8) -> ModelConfig:
    said = ModelConfig(name="mine", max_batch_size=max_batch)
    said.instance_group.add(count=2)
    return said


@pytest.mark.parametrize(
    ("max_batch", "promised", "speed", "size", "timeout_ms"),
    [
        (8, 0.25, 8000, 1000, 1000),  # half of the promise, answered within it; four promises
        (8, 0.25, 200, 25, 1000),
        (32, 0.25, 20, 32, 6400),  # not less than a batch, though it takes 1.6 s; four times that
        (0, 0.5, 10, 2, 2000),
        (8, 0.005, 4000, 10, 100),  # a stall of the machine is longer than four promises
        (8, None, 8000, 4000, 4000),  # as if it promised a second
        (8, None, 2, 64, 128_000),  # a caller with 64 requests under way is not refused by a slow model
        (8, 0.5, None, 250, 2000),  # nothing is known of its speed
    ],
)
def test_the_bounds_follow_from_promise_and_speed(
    max_batch: int, promised: float | None, speed: float | None, size: int, timeout_ms: int
) -> None:
    said = config(max_batch)
    set_scheduling(said, Scheduling(), promised, speed)
    policy = said.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (size, timeout_ms * MS)
    assert policy.timeout_action == ModelQueuePolicy.REJECT
    assert policy.allow_timeout_override


def test_what_is_asked_for_is_written_and_explained() -> None:
    said = config()
    asked = Scheduling(7, 20, 3, 2, {"memory": 2}, 4)
    set_scheduling(said, asked, 0.25, 100)
    batching, limiter = said.dynamic_batching, said.instance_group[0].rate_limiter
    policy = batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (7, 20 * MS)
    assert (batching.priority_levels, batching.default_priority_level) == (3, 2)
    assert [(resource.name, resource.count) for resource in limiter.resources] == [("memory", 2)]
    assert limiter.priority == 4
    assert parse(render(said)) == said
    for field in ("default_queue_policy", "priority_levels", "rate_limiter"):
        assert f"# {field}: " in render(said)


def test_a_bound_can_be_taken_off_and_the_last_level_is_the_default() -> None:
    said = config()
    set_scheduling(said, Scheduling(queue_size=0, queue_timeout_ms=0, priorities=2))
    policy = said.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (0, 0)
    assert said.dynamic_batching.default_priority_level == 2


def test_a_sequence_batcher_has_no_queue_to_bound() -> None:
    said = config()
    said.sequence_batching.oldest.max_candidate_sequences = 4
    set_scheduling(said, Scheduling(resources={"memory": 1}), 0.25, 100)
    assert said.WhichOneof("scheduling_choice") == "sequence_batching"
    assert said.instance_group[0].rate_limiter.resources
    with pytest.raises(ServingError, match=r"'mine' keeps a state .* neither a queue size nor .* leave them out"):
        set_scheduling(said, Scheduling(queue_size=4))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (SchedulingChoices(queue_size=-1), "queue size -1: allowed are 0"),
        (SchedulingChoices(queue_timeout_ms=float("nan")), "queue timeout nan ms: allowed are 0"),
        (SchedulingChoices(priorities=-2), "-2 priorities: allowed are 0"),
        (SchedulingChoices(priorities=2, default_priority=3), "default priority 3: allowed are 1 to 2"),
        (SchedulingChoices(default_priority=1), "default priority 1: allowed are none, for there are no priorities"),
        (SchedulingChoices(resource=("memory",)), "--resource memory: expected NAME=UNITS"),
        (SchedulingChoices(resource=("memory=0",)), "--resource memory=0: expected NAME=UNITS, with 1 unit or more"),
        (SchedulingChoices(turn=2), "turn 2: without a resource nobody waits for a turn"),
        (SchedulingChoices(turn=0, resource=("memory=1",)), "turn 0: allowed are 1 and more"),
    ],
)
def test_what_cannot_be_followed_is_refused(choices: SchedulingChoices, words: str) -> None:
    with pytest.raises(ServingError, match=words):
        _ = choices.scheduling


def test_the_command_reads_the_promise_and_its_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path))
    Path("promises.yaml").write_text(json.dumps({"mine": {"rate": 1, "error_rate": 0, "p99_ms": 500}}))
    file = str(graphs.write(graphs.AFFINE, tmp_path / "affine.onnx"))
    assert publish([file, "--name", "mine", "--priorities", "2", "--resource", "memory=1"]) == 0
    said = parse((tmp_path / "models" / "mine" / "config.pbtxt").read_text())
    policy = said.dynamic_batching.default_queue_policy
    assert policy.default_timeout_microseconds == 2_000_000
    assert policy.max_queue_size > 250, "some thousand a second, for a quarter of a second"
    assert said.dynamic_batching.priority_levels == 2
    assert said.instance_group[0].rate_limiter.resources[0].name == "memory"


def test_a_promise_that_cannot_be_read_is_none_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path))
    assert promised_s("cnn") == 0.25
    assert promised_s("nobody's") is None
    assert not caplog.text
    Path("promises.yaml").write_text("cnn: {rate: fast, error_rate: 0}")
    assert promised_s("cnn") is None
    assert "model 'cnn': its queue is bounded without its promise: promises.yaml: cnn: rate must be" in caplog.text
