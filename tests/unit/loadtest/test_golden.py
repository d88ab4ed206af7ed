import json
from pathlib import Path

import numpy as np
import pytest

from conch.contracts.comparison import TOLERANCES
from conch.contracts.golden import GoldenError
from loadtest.golden import keeps_state, load_chain, load_golden


def version(artifacts: Path, number: str, **arrays: np.ndarray) -> Path:
    """A version folder with a golden.npz of three items, or of these arrays."""
    folder = artifacts / "models" / "cnn" / number
    folder.mkdir(parents=True)
    values = np.arange(3, dtype=np.float32)[:, None]
    np.savez(folder / "golden.npz", **(arrays or {"inputs/x": values, "outputs/y": values * 2 + int(number)}))
    return folder


def test_newest_version_is_taken_by_number(tmp_path: Path) -> None:
    for number in ("2", "10", "9"):
        version(tmp_path, number)
    (tmp_path / "models" / "cnn" / "labels.txt").touch()
    golden = load_golden(tmp_path, "cnn")
    assert golden.version == "10"
    assert len(golden) == 3
    inputs, outputs = golden.questions([2, 0, 2]), golden.answers([2, 0, 2])
    np.testing.assert_array_equal(inputs["x"].ravel(), [2, 0, 2])
    np.testing.assert_array_equal(outputs["y"].ravel(), [14, 10, 14])


def test_manifest_says_the_tolerance(tmp_path: Path) -> None:
    folder = version(tmp_path, "1")
    (folder / "manifest.json").write_text(json.dumps({"tolerance": {"float32": [1e-5, 1e-4]}}))
    assert load_golden(tmp_path, "cnn").tolerance == {**TOLERANCES, "float32": (1e-5, 1e-4)}


def test_damaged_manifest_is_said(tmp_path: Path) -> None:
    (version(tmp_path, "1") / "manifest.json").write_text('{"tolerance": 3}')
    with pytest.raises(GoldenError, match=r"manifest\.json is damaged"):
        load_golden(tmp_path, "cnn")


def test_no_version_says_which_command_makes_one(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="conch export cnn"):
        load_golden(tmp_path, "cnn")


def test_missing_and_damaged_file_are_said(tmp_path: Path) -> None:
    path = version(tmp_path, "1") / "golden.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(GoldenError, match="damaged"):
        load_golden(tmp_path, "cnn")
    path.unlink()
    with pytest.raises(GoldenError, match="missing"):
        load_golden(tmp_path, "cnn")


@pytest.mark.parametrize(
    "arrays",
    [
        {"inputs/x": (2, 1)},
        {"inputs/x": (2, 1), "outputs/y": (3, 1)},
        {"inputs/x": (0, 1), "outputs/y": (0, 1)},
    ],
)
def test_arrays_that_do_not_match_are_refused(tmp_path: Path, arrays: dict[str, tuple[int, int]]) -> None:
    version(tmp_path, "1", **{name: np.zeros(shape) for name, shape in arrays.items()})
    with pytest.raises(GoldenError, match="same number of items"):
        load_golden(tmp_path, "cnn")


def configure(artifacts: Path, text: str) -> None:
    (artifacts / "models" / "cnn" / "config.pbtxt").write_text(text)


def test_an_item_of_a_model_without_a_batch_axis_is_sent_without_one(tmp_path: Path) -> None:
    arrays = {"inputs/x": np.ones((1, 2, 3)), "inputs/k": np.ones((1, 1)), "outputs/y": np.ones((1, 0, 7))}
    version(tmp_path, "1", **arrays)
    configure(tmp_path, 'input { name: "x" } input { name: "k" } output { name: "y" }')
    golden = load_golden(tmp_path, "cnn")
    assert {name: array.shape for name, array in golden.questions([0]).items()} == {"x": (2, 3), "k": (1,)}
    assert golden.answers([0])["y"].shape == (0, 7)
    with pytest.raises(ValueError, match="too many values"):
        golden.questions([0, 0])


def test_states_and_controls_added_by_hand_are_the_servers(tmp_path: Path) -> None:
    names = ("inputs/x", "inputs/h_in", "inputs/START", "outputs/y", "outputs/h_out")
    version(tmp_path, "1", **{name: np.ones((3, 1), np.float32) for name in names})
    configure(
        tmp_path,
        'max_batch_size: 4 input { name: "x" } output { name: "y" } sequence_batching { '
        'control_input { name: "START" } state { input_name: "h_in" output_name: "h_out" } }',
    )
    golden = load_golden(tmp_path, "cnn")
    assert (list(golden.questions([0])), list(golden.answers([0]))) == (["x"], ["y"])
    assert keeps_state(tmp_path, "cnn")


def test_a_reshape_in_the_configuration_is_what_requests_have(tmp_path: Path) -> None:
    version(tmp_path, "1", **{"inputs/x": np.ones((3, 28, 28)), "outputs/y": np.ones((3, 1, 10))})
    shapes = 'max_batch_size: 4 input { name: "x" dims: [784] reshape { shape: [28, 28] } } '
    configure(tmp_path, shapes + 'output { name: "y" dims: [10] reshape { shape: [1, 10] } }')
    golden = load_golden(tmp_path, "cnn")
    assert (golden.questions([0, 1])["x"].shape, golden.answers([0])["y"].shape) == ((2, 784), (1, 10))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('max_batch_size: 4 input { name: "z" }', "has no z, which config.pbtxt lists"),
        ('max_batch_size: 4 input { name: "x" dims: [2] reshape { } }', r"items of \[1\], config.pbtxt gives .* \[2\]"),
    ],
)
def test_a_configuration_of_other_tensors_is_said(tmp_path: Path, config: str, words: str) -> None:
    version(tmp_path, "1")
    configure(tmp_path, config)
    with pytest.raises(GoldenError, match=words):
        load_golden(tmp_path, "cnn")


def test_answers_that_differ_each_time_are_known(tmp_path: Path) -> None:
    folder = version(tmp_path, "1")
    assert load_golden(tmp_path, "cnn").repeatable
    load_golden.cache_clear()
    (folder / "manifest.json").write_text('{"source": {"kind": "onnx file", "repeatable": false}}')
    assert not load_golden(tmp_path, "cnn").repeatable


def test_a_number_a_step_is_taken_from_whole_sequences_of_numbers(tmp_path: Path) -> None:
    """The model with states answers [items, 1], the one of whole sequences [items, time]."""
    version(tmp_path, "1")
    whole = tmp_path / "models" / "sums" / "1"
    whole.mkdir(parents=True)
    steps = np.arange(10, dtype=np.float32).reshape(2, 5)
    np.savez(whole / "golden.npz", **{"inputs/x": steps, "outputs/y": steps.cumsum(1)})
    golden = load_chain(tmp_path, "cnn", "sums")
    assert (golden.questions([1], 2)["x"].tolist(), golden.answers([1], 2)["y"].tolist()) == ([[7]], [[18]])


def test_a_model_with_states_may_have_sequences_of_its_own(tmp_path: Path) -> None:
    steps = np.arange(10, dtype=np.float32).reshape(2, 5, 1)
    answers = {"sequences/inputs/x": steps, "sequences/outputs/y": steps.cumsum(1)}
    version(tmp_path, "1", **{"inputs/x": np.ones((3, 1)), "outputs/y": np.ones((3, 1)), **answers})
    golden = load_chain(tmp_path, "cnn", "cnn")
    assert (golden.questions([1], 2)["x"].tolist(), golden.answers([1], 2)["y"].tolist()) == ([[7]], [[18]])


def test_a_model_without_sequences_of_its_own_is_told_so(tmp_path: Path) -> None:
    version(tmp_path, "1")
    with pytest.raises(GoldenError, match=r"holds no sequences of cnn; .* name a model without a state in answers_of"):
        load_chain(tmp_path, "cnn", "cnn")


def test_a_graph_of_constants_has_no_inputs(tmp_path: Path) -> None:
    version(tmp_path, "1", **{"outputs/y": np.ones((1, 2))})
    configure(tmp_path, 'output { name: "y" }')
    golden = load_golden(tmp_path, "cnn")
    assert (len(golden), golden.questions([0]), golden.answers([0])["y"].shape) == (1, {}, (2,))
    configure(tmp_path, 'input { name: "x" } output { name: "y" }')
    load_golden.cache_clear()
    with pytest.raises(GoldenError, match="has no x, which config"):
        load_golden(tmp_path, "cnn")
