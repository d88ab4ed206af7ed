"""What is changed in an ONNX file before it is served: each change by what the file itself answers before and after."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from conch.contracts.fingerprint import sha256_of_file
from serving.errors import ServingError
from serving.onnx_files.asked import asked
from serving.onnx_files.changes.axes import MovedAxis
from serving.repository.configuration import parse
from serving.repository.foreign import publish_file
from tests.support.changed_models import TIME_FIRST, VAD, classifier, parsed

Answers = dict[str, Any]
F32 = np.float32


def unchanged(answers: Answers) -> Answers:
    return answers


@dataclass(frozen=True)
class Case:
    """A file, what is said of it, and how one asks and reads the file as it came instead of the one that is served."""

    model: onnx.ModelProto
    feeds: Mapping[str, np.ndarray]
    """Of the file as it is served."""
    dims: Mapping[str, list[int]]
    """Of the outputs in config.pbtxt."""
    says: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    before: Callable[[Answers], Answers] = unchanged
    """The inputs of the file as it came."""
    answers: Callable[[Answers], Answers] = unchanged
    """Its answers as they are served."""
    labels: list[str] | None = None
    max_batch: int = 32


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(F32)


def rows(*keys: Any) -> Callable[[Answers], Answers]:
    def answers(before: Answers) -> Answers:
        maps = before["output_probability"]
        return {**before, "output_probability": np.array([[one[key] for key in keys] for one in maps], F32)}

    return answers


def of_three_axes() -> onnx.ModelProto:
    """A text reader's output as found in the wild: declared [1, -1], and comes as [time, 1, characters]."""
    return parsed("""
    reader (float[1, k] x) => (float[1, c] y)
    <int64[3] long = {-1, 1, 2}, int64[2] flat = {1, -1}, float low = {-1000000.0}>
    { total = ReduceSum<keepdims = 0>(x)
      always = Greater(total, low)
      y = If (always) <then_branch = t () => (float[p, q, r] a) { a = Reshape(x, long) },
                       else_branch = e () => (float[u, v] b) { b = Reshape(x, flat) }> }
    """)


def declared(model: onnx.ModelProto, output: str, *shape: int | str) -> onnx.ModelProto:
    (value,) = [value for value in model.graph.output if value.name == output]
    value.CopyFrom(onnx.helper.make_tensor_value_info(output, value.type.tensor_type.elem_type, shape))
    return model


def old_ir(model: onnx.ModelProto) -> onnx.ModelProto:
    model.ir_version = 3
    for tensor in model.graph.initializer:  # where they have to be inputs as well
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


SPLIT = "<int64[2] parts = {1, 2}> { y = SplitToSequence<axis = 1>(x, parts) }"
CASES = {
    "maps by number": Case(
        classifier(0, 1, 2), {"X": draw(5, 4)}, {"output_label": [1], "output_probability": [3]},
        "output 'output_probability': ZipMap removed", answers=rows(0, 1, 2), labels=["0", "1", "2"],
    ),
    "maps by name": Case(
        classifier("setosa", "versi color", "kä"), {"X": draw(1, 4)},
        {"output_label": [1], "output_probability": [3]}, "ZipMap removed", answers=rows("setosa", "versi color", "kä"),
        labels=["setosa", "versi color", "kä"],
    ),
    "a sequence of two": Case(
        parsed("g (float[n, 3] x) => (seq(float[n, 3]) y, float[n, 3] z) "
               "{ a = Neg(x) b = Concat<axis = 1>(x, x) y = SequenceConstruct(a, b) z = Abs(x) }"),
        {"x": draw(4, 3)}, {"y_0": [3], "y_1": [6], "z": [3]}, "output 'y', a sequence of 2, is 'y_0', 'y_1'",
        answers=lambda before: {"y_0": before["y"][0], "y_1": before["y"][1], "z": before["z"]},
    ),
    "a sequence that is put together": Case(
        parsed("g (float[n, 3] x, float[n, 3] y_0) => (seq(float[n, 3]) y) <int64 front = {0}> "
               "{ none = SequenceEmpty() one = SequenceInsert(none, x) y = SequenceInsert(one, y_0, front) }"),
        {"x": draw(4, 3), "y_0": -draw(4, 3)}, {"y_0_2": [-1], "y_1": [-1]}, "is 'y_0_2', 'y_1'",
        answers=lambda before: {"y_0_2": before["y"][0], "y_1": before["y"][1]},
    ),
    "parts of known lengths": Case(
        parsed(f"g (float[n, 3] x) => (seq(float[n, m]) y) {SPLIT}"), {"x": draw(4, 3)}, {"y_0": [-1], "y_1": [-1]},
        "is 'y_0', 'y_1'", answers=lambda before: {"y_0": before["y"][0], "y_1": before["y"][1]},
    ),
    "a step a tensor": Case(
        parsed("g (float[n, t, 3] x) => (seq(float[n, 3]) y) "
               "{ z = Neg(x) y = SplitToSequence<axis = 1, keepdims = 0>(z) }"),
        {"x": draw(2, 5, 3)}, {"y": [-1, -1]}, "one tensor: its tensors stacked along a new axis 1",
        answers=lambda before: {"y": np.stack(before["y"], 1)},
    ),
    "a sequence of any length": Case(
        parsed("g (float[n, t] x) => (seq(float[t]) y) <int64 three = {3}> "
               "{ z = SplitToSequence<axis = 0, keepdims = 0>(x) "
               "y = SequenceMap<body = b (float[t] a) => (float[t] c) { c = Exp(a) }>(z) }"),
        {"x": draw(2, 5)}, {"y": [-1]}, "stacked along a new axis 0",
        answers=lambda before: {"y": np.stack(before["y"])},
    ),
    "an optional": Case(
        parsed("g (float[n, 2] x) => (optional(float[n, 2]) y) { z = Neg(x) y = Optional(z) }"), {"x": draw(3, 2)},
        {"y": [2]}, "output 'y', an optional, is what is in it",
    ),
    "an optional from a branch": Case(
        parsed("g (float[n, 2] x) => (optional(float[n, 2]) y) <float low = {-1000000.0}> "
               "{ total = ReduceSum<keepdims = 0>(x) always = Greater(total, low) "
               "y = If (always) <then_branch = t () => (optional(float[n, 2]) a) { a = Optional(x) }, "
               "else_branch = e () => (optional(float[n, 2]) b) { z = Neg(x) b = Optional(z) }> }"),
        {"x": draw(3, 2)}, {"y": [2]}, "an optional, is what is in it",
    ),
    "an optional sequence": Case(
        parsed("g (float[n, 2] x) => (optional(seq(float[n, 2])) y) "
               "{ z = Neg(x) s = SequenceConstruct(x, z) y = Optional(s) }"),
        {"x": draw(3, 2)}, {"y_0": [-1], "y_1": [-1]}, "'y_0', 'y_1'",
        answers=lambda before: {"y_0": before["y"][0], "y_1": before["y"][1]},
    ),
    "time first": Case(
        parsed(TIME_FIRST), {"x": draw(4, 5, 3)}, {"y": [-1, 2], "last": [2]},
        "input 'x': the batch moved from axis 1 to the front", {"batch_axes": ["x=1", "y=1"]},
        before=lambda inputs: {"x": np.moveaxis(inputs["x"], 0, 1)},
        answers=lambda before: {**before, "y": np.moveaxis(before["y"], 1, 0)},
    ),
    "the batch at the end": Case(
        parsed("g (int64[3, 2, n] x) => (int64[n] y, int64[2, n] z) <int64[2] two = {0, 1}, int64[1] one = {0}> "
               "{ y = ReduceSum<keepdims = 0>(x, two) z = ReduceMax<keepdims = 0>(x, one) }"),
        {"x": np.arange(30).reshape(5, 3, 2)}, {"y": [1], "z": [2]}, "moved from axis 2",
        {"batch_axes": ["x=2", "z=1", "y=0"]}, before=lambda inputs: {"x": np.moveaxis(inputs["x"], 0, 2)},
        answers=lambda before: {**before, "z": before["z"].T},
    ),
    "a fixed number": Case(
        parsed(VAD), {"input": draw(2, 6), "state": draw(2, 2, 4)}, {"output": [1], "stateN": [2, 4]},
        "input 'sr' fixed to 16000", {"fixed": ["sr=16000"], "batch_axes": ["state=1", "stateN=1"]},
        before=lambda inputs: {**inputs, "state": np.moveaxis(inputs["state"], 0, 1), "sr": np.array(16000)},
        answers=lambda before: {**before, "stateN": np.moveaxis(before["stateN"], 1, 0)},
    ),
    "text and booleans, fixed": Case(
        parsed("g (string[n] x, string[1] tail, bool on) => (string[n] y, bool[n] z) "
               '{ y = StringConcat(x, tail) m = RegexFullMatch<pattern = "a.*">(x) z = And(m, on) }'),
        {"x": np.array(["a", "käse"], object)}, {"y": [1], "z": [1]}, "input 'on' fixed to True",
        {"fixed": ["tail=!", "on=true"]},
        before=lambda inputs: {**inputs, "tail": np.array(["!"], object), "on": np.array(True)},
    ),
    "fixed in an old file": Case(
        old_ir(parsed("g (float[n, 2] x, float k) => (float[n, 2] y) <float[2] w = {1, 2}> "
                      "{ a = Mul(x, w) y = Mul(a, k) }")),
        {"x": draw(3, 2)}, {"y": [2]}, "input 'k' fixed to 0.5", {"fixed": ["k=0.5"]},
        before=lambda inputs: {**inputs, "k": np.array(0.5, F32)},
    ),
    "more axes than declared": Case(
        of_three_axes(), {"x": draw(1, 8)}, {"y": [-1, -1, -1]},
        "output 'y', declared as [1, -1], is declared as [-1, -1, -1]: it came as [4, 1, 2]", max_batch=0,
    ),
    "more axes than declared, one of them the batch": Case(
        declared(parsed("""
        reader (float[n, k] x) => (float[1, c] y) <int64[3] long = {0, -1, 2}, float low = {-1000000.0}>
        { total = ReduceSum<keepdims = 0>(x)
          always = Greater(total, low)
          y = If (always)
            <then_branch = t () => (float[p, q, r] a) { z = Reshape(x, long) a = Transpose<perm = [1, 0, 2]>(z) },
             else_branch = e () => (float[u, v] b) { b = Identity(x) }> }"""), "y", 1, "c"),
        {"x": draw(3, 8)}, {"y": [-1, -1]}, "output 'y', declared as [1, -1], is declared as [-1, -1, -1]",
        {"batch_axes": ["y=1"]}, answers=lambda before: {"y": np.moveaxis(before["y"], 1, 0)},
    ),
    "another length than declared": Case(
        declared(of_three_axes(), "y", 7, 1, 2), {"x": draw(1, 8)}, {"y": [-1, 1, 2]},
        "output 'y', declared as [7, 1, 2], is declared as [-1, 1, 2]: it came as [4, 1, 2]", max_batch=0,
    ),
    "no shape, and then a batch": Case(
        declared(parsed("g (float[n, 6] x) => (float[n, 6] y) { y = Relu(x) }"), "y"), {"x": draw(3, 6)}, {"y": [6]},
        "output 'y', declared as [], is declared as [-1, -1]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_answers_as_the_file_that_came(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    file = tmp_path / "theirs.onnx"
    onnx.save(case.model, file)
    version, trial = publish_file(file, "mine", tmp_path / "models", asked=asked(**case.flags))
    assert trial.max_batch_size == case.max_batch, trial.note
    assert any(case.says in change for change in trial.changes), trial.changes
    before = ort.InferenceSession(file)
    names = [output.name for output in before.get_outputs()]
    came = case.answers(dict(zip(names, before.run(names, case.before(dict(case.feeds))), strict=True)))
    after = ort.InferenceSession(version / "model.onnx")
    got = dict(zip([o.name for o in after.get_outputs()], after.run(None, dict(case.feeds)), strict=True))
    assert got.keys() == came.keys()
    for output, answer in got.items():
        np.testing.assert_array_equal(answer, came[output], err_msg=output)
    config = parse((version.parent / "config.pbtxt").read_text())
    assert {output.name: list(output.dims) for output in config.output} == case.dims
    labels = version.parent / "labels.txt"
    assert (labels.read_text().splitlines() if labels.exists() else None) == case.labels
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["sha256"]["source"] == sha256_of_file(file)
    assert manifest["sha256"]["onnx"] == sha256_of_file(version / "model.onnx") != manifest["sha256"]["source"]
    assert manifest["source"]["changes"] == list(trial.changes)
    proof = json.loads((version / "parity.json").read_text())["change_proof"]
    assert (proof["changes"], proof["same_bits"]) == (list(trial.changes), True)


def test_what_needs_no_change_is_published_byte_for_byte(tmp_path: Path) -> None:
    onnx.save(parsed("g (float[n, 6] x) => (float[n, 6] y) { y = Relu(x) }"), tmp_path / "theirs.onnx")
    version, trial = publish_file(tmp_path / "theirs.onnx", "mine", tmp_path / "models")
    assert trial.changes == ()
    assert (version / "model.onnx").read_bytes() == (tmp_path / "theirs.onnx").read_bytes()
    hashes = json.loads((version / "manifest.json").read_text())["sha256"]
    assert hashes["source"] == hashes["onnx"]


def test_what_draws_numbers_can_be_declared_anew(tmp_path: Path) -> None:
    model = declared(of_three_axes(), "y", 7, 1, 2)
    model.graph.node[-1].output[0] = "shaped"
    model.graph.node.append(onnx.helper.make_node("RandomUniformLike", ["shaped"], ["y"]))
    onnx.save(model, tmp_path / "theirs.onnx")
    version, trial = publish_file(tmp_path / "theirs.onnx", "mine", tmp_path / "models")
    assert [change[:47] for change in trial.changes] == ["output 'y', declared as [7, 1, 2], is declared a"[:47]]
    assert "change_proof" not in json.loads((version / "parity.json").read_text())


def test_external_data_come_along_with_a_changed_file(tmp_path: Path) -> None:
    model = parsed(
        "g (float[t, n, 3] x) => (float[t, n, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"
    )
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    file = tmp_path / "theirs.onnx"
    (tmp_path / "parts").mkdir()
    onnx.save(model, file, save_as_external_data=True, size_threshold=0, location="parts/weights")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    flags = asked(batch_axes=["x=1", "y=1"])
    version, _ = publish_file(file, "mine", tmp_path / "models", asked=flags)
    assert (version / "parts" / "weights").read_bytes() == (tmp_path / "parts" / "weights").read_bytes()
    assert {path: path.read_bytes() for path in before} == before, "nothing is written where the file came from"
    ort.InferenceSession(version / "model.onnx")


def test_given_inputs_are_those_of_the_file_as_it_came(tmp_path: Path) -> None:
    onnx.save(parsed(VAD), tmp_path / "vad.onnx")
    np.savez(tmp_path / "real.npz", input=draw(3, 7), state=draw(2, 3, 4), sr=np.array(16000))
    flags = asked(batch_axes=["state=1", "stateN=1"], fixed=["sr=16000"])
    version, trial = publish_file(
        tmp_path / "vad.onnx", "vad", tmp_path / "m", inputs_from=tmp_path / "real.npz", asked=flags
    )
    assert (trial.inputs, trial.max_batch_size) == ("given", 32)
    with np.load(version / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["inputs/state"][:3], np.moveaxis(draw(2, 3, 4), 1, 0))


def keyless() -> onnx.ModelProto:
    model = classifier(0, 1, 2)
    del model.graph.node[-1].attribute[:]
    return model


UNLIKE = "g (float[n, 3] x) => (seq(float[n, m]) y) <int64[2] parts = {1, 2}> " \
    "{ s = SplitToSequence<axis = 1>(x, parts) y = SequenceMap<body = b (float[n, m] a) => (float[n, m] c) " \
    "{ c = Exp(a) }>(s) }"  # fmt: skip
REFUSED = {
    "maps without keys": (keyless(), {}, r"its ZipMap has the keys \[\].*options={'zipmap': False}"),
    "tensors of several shapes": (
        parsed(UNLIKE), {}, "output 'y', a sequence, is one tensor: .* does not run on generated inputs: .*Concat",
    ),
    "always nothing": (
        parsed("g (float[n] x) => (float[n] z, seq(float[n]) y) { z = Neg(x) y = SequenceEmpty() }"), {},
        "output 'y' is a sequence that is always empty",
    ),
    "no such axis": (parsed(TIME_FIRST), {"batch_axes": ["x=3"]}, "--batch-axis x=3: it has 3 axes, counted from 0"),
    "no such tensor": (parsed(TIME_FIRST), {"batch_axes": ["z=1"]}, "there is no tensor 'z', there are x, y, last"),
    "a fixed axis": (parsed(TIME_FIRST), {"batch_axes": ["x=2"]}, "that axis is fixed to 3, a batch is open"),
    "not the batch": (
        parsed("g (float[2, n] x) => (float[2, n] y) { y = Softmax<axis = 1>(x) }"), {"batch_axes": ["x=1", "y=1"]},
        "cannot be served in batches, as --batch-axis x asks: output 'y' of row 0 in a batch of 2 is not",
    ),
    "one side only": (
        parsed(TIME_FIRST.replace("[time, batch, 2] y", "[5, batch, 2] y").replace("float[time, ", "float[5, ")),
        {"batch_axes": ["x=1"]},
        "as --batch-axis x asks: the first axis of output 'y' is fixed to 5; if axis 1 is the batch: --batch-axis y=1",
    ),
    "chance": (
        parsed("g (float[2, n] x) => (float[n, 2] y) { t = Transpose(x) y = RandomUniformLike(t) }"),
        {"batch_axes": ["x=1"]}, "its answers to the same inputs differ",
    ),
    "a fixed word": (parsed(VAD), {"fixed": ["sr=fast"]}, "--fix sr=fast: the input takes int64 .*'fast' is no"),
    "too large a number": (
        parsed("g (float[n] x, uint8 k) => (uint8[n] y) { z = Cast<to = 2>(x) y = Add(z, k) }"), {"fixed": ["k=256"]},
        "--fix k=256: the input takes uint8",
    ),
    "a fixed fraction": (parsed(VAD), {"fixed": ["sr=0.5"]}, "--fix sr=0.5: the input takes int64"),
    "an open input": (parsed(VAD), {"fixed": ["input=1"]}, "whose open axes one value does not fill; give an array"),
    "nothing to fix": (parsed(VAD), {"fixed": ["rate=1"]}, "there is no input 'rate', there are input, state, sr"),
    "no file": (parsed(VAD), {"fixed": ["input=none.npy"]}, "none.npy is no readable .npy file"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_plain_meaning_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    model, flags, message = REFUSED[name]
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(ServingError, match=message) as refused:
        publish_file(tmp_path / "theirs.onnx", "mine", tmp_path / "models", asked=asked(**flags))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())


def test_a_change_that_changes_an_answer_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof can fail: a transpose in another order is one that loads, runs and batches."""
    onnx.save(parsed("g (float[4, n, 4] x) => (float[4, n, 4] y) { y = Exp(x) }"), tmp_path / "theirs.onnx")
    monkeypatch.setattr(MovedAxis, "answers", lambda self, before: before | {"y": before["y"].transpose(1, 2, 0)})
    with pytest.raises(ServingError, match="output 'y' is not what the file as it came answers"):
        publish_file(tmp_path / "theirs.onnx", "m", tmp_path / "models", asked=asked(batch_axes=["x=1", "y=1"]))


WRONG_WORDS = {
    "no equals sign": ({"states": ["h"]}, "--state h: it is INPUT=OUTPUT, as h_in=h_out"),
    "an axis of words": ({"batch_axes": ["x=first"]}, "an axis is a number from 0, not 'first'"),
    "an axis from the end": ({"batch_axes": ["x=-1"]}, "an axis is a number from 0, not '-1'"),
    "twice": ({"fixed": ["a=1", "a=2"]}, "--fix a=2: 'a' is 1 already"),
    "an unknown control": ({"states": ["h=i"], "controls": ["a=begin"]}, "allowed are start, end, ready"),
    "a control of nothing": ({"controls": ["a=start"]}, "--control is for a model with states"),
    "a first value of nothing": ({"initial_state": Path("a.npz")}, "--initial-state is for a model with states"),
    "one output twice": ({"states": ["a=b", "c=b"]}, "an output belongs to two states"),
    "fixed and kept": ({"states": ["a=b"], "fixed": ["a=1"]}, "--fix a=1: it is fixed, and can be nothing else"),
    "kept and told": ({"states": ["a=b"], "controls": ["a=end"]}, "--control a=end: it is a state already"),
}


@pytest.mark.parametrize("name", WRONG_WORDS)
def test_words_that_say_nothing_are_refused(name: str) -> None:
    flags, message = WRONG_WORDS[name]
    with pytest.raises(ServingError, match=message):
        asked(**flags)  # type: ignore[arg-type]
