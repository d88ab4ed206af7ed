"""What a file of unknown origin is tried on, and what is said where it does not run or is not batched."""

from pathlib import Path

import numpy as np
import pytest

from serving.commands import publish as command
from serving.errors import ServingError
from serving.onnx_files.signature import open_session
from serving.onnx_files.trial import Trial, try_model
from tests.support import graphs

COLOURS = f"<float[4, 3, 5, 5] w = {{{', '.join(['0.1'] * 300)}}}>"
MODELS = {
    # Channels are open too, as exporters with all axes dynamic write them.
    "colours": f"g (float[n, c, h, w_] x) => (float[n, 4, a, b] y) {COLOURS} {{ y = Conv(x, w) }}",
    # Below 20 pixels it runs, and gives nothing.
    "pyramid": "g (float[n, 1, h, w_] x) => (float[n, 1, a, b] y) "
    "{ y = AveragePool<kernel_shape = [20, 20], strides = [4, 4]>(x) }",
    "nothing": "g (float[n, t] x) => (float[n, a] y) <int64[1] none = {0}, int64[1] axis = {1}> "
    "{ y = Slice(x, none, none, axis) }",
    "table": "g (int64[n, t] x) => (float[n, t] y) <float[5] table = {0, 1, 2, 3, 4}> { y = Gather(table, x) }",
    "alone": "g (float[n, 3] x) => (float[n, 3] y) <int64[1] first = {0}> { row = Squeeze(x, first) y = Add(x, row) }",
}


def tried(text: str, folder: Path, max_batch: int | None = None, inputs: dict[str, np.ndarray] | None = None) -> Trial:
    session = open_session(graphs.write(text, folder / "model.onnx"), "model 'm'")
    return try_model(session, "model 'm'", max_batch, inputs)


@pytest.mark.parametrize(
    ("model", "inputs", "shape"),
    [
        ("colours", "generated, random, seed 0, open axes 32, c 3", [2, 4, 28, 28]),
        ("pyramid", "generated, random, seed 0, open axes 32", [2, 1, 4, 4]),
        ("nothing", "generated, random, seed 0, open axes 8", [2, 0]),
        ("table", "generated, zeros and ones, seed 0, open axes 8", [2, 8]),
    ],
)
def test_a_trial_is_on_as_much_as_the_model_takes(model: str, inputs: str, shape: list[int], tmp_path: Path) -> None:
    """Not on one pixel, and not on one index that happens to be in the table."""
    trial = tried(MODELS[model], tmp_path)
    assert (trial.inputs, trial.runs[1]["outputs"]["y"], trial.max_batch_size) == (inputs, shape, 32)


PIXEL = "g (float[n, 3, h, w] x) => (float[n, 3, h, w] y) <int64[4] one = {0, 3, 1, 1}> { y = Reshape(x, one) }"
DOUBTED = {
    "an image of one pixel": (PIXEL, "it runs on open axes of no more than 1 alone"),
    "nothing but zeros": (
        "g (int64[n, t] x) => (float[n, t] y) <float[1] table = {3}> { y = Gather(table, x) }",
        "it runs on nothing but zeros",
    ),
    "nothing comes": (MODELS["nothing"], "its output 'y' came empty"),
    "no number comes": ("g (float[n] x) => (float[n] y) { z = Sub(x, x) y = Div(z, z) }", "'y' is nothing but NaN"),
}


@pytest.mark.parametrize("case", DOUBTED)
def test_what_shows_next_to_nothing_is_said(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, doubt = DOUBTED[case]
    trial = tried(text, tmp_path)
    assert [doubt in said for said in trial.doubts] == [True]
    monkeypatch.setattr(command, "publish_file", lambda *_: (tmp_path, trial))
    command.publish(tmp_path / "model.onnx", "m")
    said = capsys.readouterr().out
    assert f"m: THIS SHOWS NEXT TO NOTHING: {trial.doubts[0]}; give real inputs: --inputs-from data.npz" in said


def test_real_inputs_and_usual_ones_are_not_doubted(tmp_path: Path) -> None:
    assert tried(PIXEL, tmp_path, None, {"x": np.ones((2, 3, 1, 1), np.float32)}).doubts == ()
    for model in ("colours", "pyramid", "table", "alone"):
        assert tried(MODELS[model], tmp_path).doubts == (), model


def test_a_batch_of_one_beside_colours_is_found(tmp_path: Path) -> None:
    """No axis says what it is, and only 1 and 3 are right for two of them."""
    text = "g (float[n, c, h, w_] x) => (float[n, 4, a, b] y) <int64[1] first = {0}, "
    text += COLOURS[1:] + " { row = Squeeze(x, first) z = Unsqueeze(row, first) y = Conv(z, w) }"
    trial = tried(text, tmp_path)
    assert (trial.max_batch_size, trial.doubts) == (0, ())
    assert trial.inputs == "generated, random, seed 0, open axes 32, n 1, c 3"


NOT_BATCHED = {
    "a fixed axis": (graphs.UNBATCHED, "the first axis of input 'x' is fixed to 2"),
    "a number": (
        "g (float[n] x, float k) => (float[n] y) { y = Mul(x, k) }",
        "input 'k' is a single number, without a",
    ),
    "a number out": ("g (float[n] x) => (float y) { y = ReduceSum<keepdims = 0>(x) }", "output 'y' is a single number"),
    "one row": (
        "g (float[1, 3, h, w] x) => (float[1, 3, h, w] y) { y = Neg(x) }",
        "exported for one row; export it again",
    ),
    "another axis": ("g (float[2, n] x) => (float[2, n] y) { y = Neg(x) }", "if axis 1 is the batch: --batch-axis x=1"),
    "no inputs": ("g () => (float[1] y) { y = Constant<value_floats = [1.0]>() }", "it has no inputs"),
    "one at a time": (MODELS["alone"], "it does not run on a batch of 2 (running Squeeze node"),
}


@pytest.mark.parametrize("case", NOT_BATCHED)
def test_why_there_are_no_batches_is_always_said(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, reason = NOT_BATCHED[case]
    trial = tried(text, tmp_path)
    assert trial.max_batch_size == 0
    assert reason in trial.note
    monkeypatch.setattr(command, "publish_file", lambda *_: (tmp_path, trial))
    command.publish(tmp_path / "model.onnx", "m")
    assert f"m: served without batches, {trial.note}" in capsys.readouterr().out.replace("\n", " ")
    monkeypatch.setattr(command, "publish_file", lambda *_: (tmp_path, tried(text, tmp_path, max_batch=0)))
    command.publish(tmp_path / "model.onnx", "m", max_batch=0)
    asked = capsys.readouterr().out.replace("\n", " ")
    assert "no batches, as --max-batch 0 asks" in asked
    assert "served without batches" not in asked


@pytest.mark.parametrize("max_batch", [None, 0, 8])
def test_given_inputs_that_fail_are_not_answered_by_asking_for_given_inputs(
    max_batch: int | None, tmp_path: Path
) -> None:
    with pytest.raises(ServingError, match=r"does not run .*on the inputs of --inputs-from: .*Gather") as refused:
        tried(MODELS["table"], tmp_path, max_batch, {"x": np.full((2, 2), 99)})
    assert "generated" not in str(refused.value)
    assert "give real ones" not in str(refused.value)


@pytest.mark.parametrize("max_batch", [None, 0, 8])
def test_generated_inputs_that_fail_are(max_batch: int | None, tmp_path: Path) -> None:
    refusing = "g (int64[n, t] x) => (float[n, t] y) <float[1] t0 = {0}, int64 far = {9}> " \
        "{ i = Add(x, far) y = Gather(t0, i) }"  # fmt: skip
    with pytest.raises(ServingError, match=r"does not run .*on generated inputs: .*; give real ones: --inputs-from"):
        tried(refusing, tmp_path, max_batch)


def test_given_inputs_that_run_alone_are_served_alone(tmp_path: Path) -> None:
    trial = tried(MODELS["alone"], tmp_path, None, {"x": np.ones((1, 3), np.float32)})
    assert (trial.max_batch_size, trial.inputs) == (0, "given")
    assert "it does not run on a batch of 2" in trial.note
