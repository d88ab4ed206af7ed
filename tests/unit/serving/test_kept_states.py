"""The states that somebody names of an ONNX file: what becomes of them, and what is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.backends.onnxruntime.graph_tensors import open_dims
from serving.errors import ServingError
from serving.lint.check import lint_model
from serving.onnx_files import showing
from serving.onnx_files.asked import asked
from serving.onnx_files.kept_states import KeptStates
from serving.onnx_files.signature import open_session
from serving.repository.configuration import parse
from serving.repository.foreign import publish_file
from tests.support.changed_models import COUNTER, ONE_ROW, VAD, parsed

VAD_FLAGS = {"states": ["state=stateN"], "fixed": ["sr=16000"]}


def published(
    text: str, folder: Path, flags: Mapping[str, Any], max_batch: int | None = None
) -> tuple[ModelConfig, dict[str, Any], dict[str, Any], Any]:
    """Configuration, manifest, parity and trial of a model."""
    onnx.save(parsed(text), folder / "theirs.onnx")
    version, trial = publish_file(folder / "theirs.onnx", "stream", folder / "models", max_batch, asked=asked(**flags))
    assert not [finding for finding in lint_model(version.parent, cores=2) if finding.severity == "error"]
    manifest, parity = (json.loads((version / f"{name}.json").read_text()) for name in ("manifest", "parity"))
    return parse((version.parent / "config.pbtxt").read_text()), manifest, parity, trial


def states_of(config: ModelConfig) -> list[tuple[str, str, list[int]]]:
    return [(state.input_name, state.output_name, list(state.dims)) for state in config.sequence_batching.state]


def test_a_state_in_the_middle_becomes_a_stream_by_one_command(tmp_path: Path) -> None:
    config, manifest, parity, trial = published(VAD, tmp_path, VAD_FLAGS)
    assert config.max_batch_size == 32
    assert ([one.name for one in config.input], [one.name for one in config.output]) == (["input"], ["output"])
    assert states_of(config) == [("state", "stateN", [2, 4])]
    assert config.sequence_batching.state[0].initial_state[0].zero_data
    assert manifest["states"] == {"state": "stateN"}
    assert (parity["sequences"]["sequences"], parity["sequences"]["steps"]) == (2, 4)
    assert 0 <= parity["sequences"]["largest_difference"] < 1e-6
    assert trial.doubts == ()
    session = open_session(tmp_path / "models" / "stream" / "1" / "model.onnx", "here")
    assert [open_dims(tensor) for tensor in session.get_outputs()] == [[-1, 1], [-1, 2, 4]], "as the backend looks"


def test_without_the_fixed_number_it_is_a_stream_without_batches(tmp_path: Path) -> None:
    config, _, parity, trial = published(VAD, tmp_path, {"states": ["state=stateN"]})
    assert config.max_batch_size == 0
    assert states_of(config) == [("state", "stateN", [2, 1, 4])]
    assert [list(one.dims) for one in config.input] == [[1, -1], [1]], "one row, as the state has one"
    assert "input 'sr' is a single number, without a first axis; --fix sr=VALUE" in trial.note
    assert parity["sequences"]["sequences"] == 1


@pytest.mark.parametrize("max_batch", [None, 0])
def test_a_file_of_one_row_is_a_stream_as_it_is(max_batch: int | None, tmp_path: Path) -> None:
    config, manifest, _, trial = published(ONE_ROW, tmp_path, {"states": ["h=hn"]}, max_batch)
    assert (config.max_batch_size, states_of(config)) == (0, [("h", "hn", [2, 1, 3])])
    assert trial.changes == ()
    assert manifest["sha256"]["onnx"] == manifest["sha256"]["source"]


def test_controls_are_told_and_first_values_read(tmp_path: Path) -> None:
    first = tmp_path / "first.npz"
    np.savez(first, kept=np.array([5, -7], np.float32))
    flags = {"states": ["kept=next"], "controls": ["begins=start"], "initial_state": first}
    config, _, _, trial = published(COUNTER, tmp_path, flags)
    batching = config.sequence_batching
    (control,) = batching.control_input
    assert (control.name, control.control[0].kind, list(control.control[0].fp32_false_true)) == ("begins", 0, [0, 1])
    assert trial.changes == ("control input 'begins' takes Triton's [batch, 1]",)
    assert [one.name for one in config.input] == ["x"]
    file = tmp_path / "models" / "stream" / "initial_state" / batching.state[0].initial_state[0].data_file
    np.testing.assert_array_equal(np.fromfile(file, np.float32), [5, -7])
    # A version with another first value is served alone: one configuration is for all versions.
    assert config.version_policy.latest.num_versions == 2
    again, _, _, _ = published(COUNTER, tmp_path, flags)
    assert again.version_policy.latest.num_versions == 2
    np.savez(first, kept=np.array([[6, 0]], np.float32))  # with a batch of one
    other, _, _, _ = published(COUNTER, tmp_path, flags)
    assert other.version_policy.latest.num_versions == 1
    assert other.sequence_batching.state[0].initial_state[0].data_file == "3/0"


def test_states_of_other_types_are_kept(tmp_path: Path) -> None:
    """What was seen in a sequence, and how often; booleans and integers begin with no and 0."""
    text = "g (bool[n, 2] x, bool[n, 2] seen, int64[n, 2] times) => " \
        "(bool[n, 2] y, bool[n, 2] seen_next, int64[n, 2] times_next, int64[n, 2] z) " \
        "{ y = And(x, seen) seen_next = Or(x, seen) one = Cast<to = 7>(x) times_next = Add(times, one) " \
        "z = Neg(times_next) }"  # fmt: skip
    config, _, parity, _ = published(text, tmp_path, {"states": ["seen=seen_next", "times=times_next"]})
    assert states_of(config) == [("seen", "seen_next", [2]), ("times", "times_next", [2])]
    assert parity["sequences"]["largest_difference"] == 0


SWAPPED = "g (float[n, 2] x, float[n, 2] a, float[n, 2] b) => (float[n, 2] y, float[n, 2] second, float[n, 2] first) " \
    "{ second = Add(a, x) first = Sub(b, x) y = Mul(second, first) }"  # fmt: skip


def test_states_that_nvidia_s_backend_would_swap_are_renamed(tmp_path: Path) -> None:
    config, _, _, trial = published(SWAPPED, tmp_path, {"states": ["a=second", "b=first"]})
    assert states_of(config) == [("a", "next_a", [2]), ("b", "next_b", [2])]
    assert "output 'second' is called 'next_a': NVIDIA's backend pairs states by the order of names" in trial.changes


def test_open_axes_get_the_lengths_of_the_first_value(tmp_path: Path) -> None:
    text = "g (float[n, w] x, float[k, n, m] h) => (float[n, w] y, float[k, n, m] hn) <int64[1] zero = {0}> " \
        "{ up = Unsqueeze(x, zero) hn = Add(h, up) y = ReduceSum<keepdims = 0>(hn, zero) }"  # fmt: skip
    with pytest.raises(ServingError, match="several axes are open; say which is the batch: --batch-axis h=AXIS"):
        published(text.replace("[k, n, m] h", "[3, n, m] h"), tmp_path, {"states": ["h=hn"]})
    axis = {"states": ["h=hn"], "batch_axes": ["h=1"]}
    with pytest.raises(ServingError, match="no axis but the batch may be open; give its first value"):
        published(text, tmp_path, axis)
    np.savez(tmp_path / "h.npz", h=np.ones((3, 2), np.float32))
    config, _, _, _ = published(text, tmp_path, {**axis, "initial_state": tmp_path / "h.npz"})
    assert states_of(config) == [("h", "hn", [3, 2])]


def test_a_state_in_another_place_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial can fail: every run of this is right, and every sequence wrong."""
    text = SWAPPED.replace("second = Add(a, x)", "second = Add(a, x) ")
    exchanged = KeptStates((("a", "first"), ("b", "second")))
    monkeypatch.setattr(showing, "keep_states", lambda *_: exchanged)
    with pytest.raises(ServingError, match=r"in a sequence, output '\w+' of step 2 is not what the file as it came"):
        published(text, tmp_path, {"states": ["a=second", "b=first"]})


def test_a_state_without_a_trace_is_doubted(tmp_path: Path) -> None:
    text = "g (float[n, 2] x, float[n, 2] h) => (float[n, 2] y, float[n, 2] hn) { y = Neg(x) hn = Add(h, x) }"
    _, manifest, _, trial = published(text, tmp_path, {"states": ["h=hn"]})
    assert trial.doubts == ("its answers after 4 steps are those of the first values of its states",)
    assert manifest["source"]["shows_little_because"] == list(trial.doubts)


BOTH = "g (float[n, 2] x, {}[n, 2] h) => (float[n, 2] y, {}[n, {}] hn) "
REFUSED = {
    "no such input": (VAD, {"states": ["s=stateN"]}, "there is no input 's', there are input, state, sr"),
    "no such output": (VAD, {"states": ["state=s"]}, "there is no output 's', there are output, stateN"),
    "two types": (
        BOTH.format("float", "double", 2) + "{ y = Neg(h) hn = Cast<to = 11>(h) }", {"states": ["h=hn"]},
        r"goes in as float32 \[-1, 2\] and comes out as float64 \[-1, 2\]; both have to be of one type",
    ),
    "two shapes": (
        BOTH.format("float", "float", 4) + "{ y = Neg(h) hn = Concat<axis = 1>(h, x) }", {"states": ["h=hn"]},
        r"comes out as float32 \[-1, 4\]; both have to be of one shape",
    ),
    "text": (
        BOTH.format("string", "string", 2) + "{ y = Neg(x) hn = Identity(h) }", {"states": ["h=hn"]}, "and no text"
    ),
    "that grows": (
        "g (float[n, 1, 2] x, float[n, past, 2] h) => (float[n, all, 2] y, float[n, all, 2] hn) "
        "{ hn = Concat<axis = 1>(h, x) y = Neg(hn) }", {"states": ["h=hn"]}, "a state keeps its lengths",
    ),
    "no such axis": (VAD, {**VAD_FLAGS, "batch_axes": ["state=3"]}, "--batch-axis state=3: .*axes are counted from 0"),
    "a fixed axis": (
        ONE_ROW, {"states": ["h=hn"], "batch_axes": ["h=1"]}, "--batch-axis h=1: .* that axis is fixed",
    ),
    "two axes": (VAD, {**VAD_FLAGS, "batch_axes": ["state=1", "stateN=0"]}, "its batch is said to be axis 0 and 1"),
    "no such control": (VAD, {**VAD_FLAGS, "controls": ["begins=start"]}, "--control begins: there is no input"),
    "no control": (VAD, {"states": ["state=stateN"], "controls": ["sr=start"]}, "is int64 .*; a control is bool"),
    "nothing to send": (
        "g (float[n, 2] h) => (float[n, 2] hn, float[n, 2] y) { hn = Neg(h) y = Abs(h) }", {"states": ["h=hn"]},
        "all of its inputs are states",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_state_that_cannot_be_kept_is_refused(name: str, tmp_path: Path) -> None:
    text, flags, message = REFUSED[name]
    with pytest.raises(ServingError, match=message) as refused:
        published(text, tmp_path, flags)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"kept": np.zeros(3, np.float32)}, r"'kept' is float32 \[3\], a state without its batch is float32 \[2\]"),
        ({"kept": np.zeros(2)}, r"'kept' is float64 \[2\]"),
        ({"x": np.zeros(2, np.float32)}, r"has the array 'x'; the states are \['kept'\]"),
    ],
)
def test_a_first_value_that_does_not_fit_is_refused(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "first.npz", **arrays)
    with pytest.raises(ServingError, match=message):
        published(COUNTER, tmp_path, {"states": ["kept=next"], "initial_state": tmp_path / "first.npz"})
