"""What the backend holds a session against, in every shape that golden answers have."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from conch.contracts.golden import write_golden
from tests.support import graphs
from tests.unit.serving.conftest import Import


def version(folder: Path, graph: str, batched: bool = True, off: float = 0.0) -> tuple[ort.InferenceSession, Path]:
    """A session and its version's folder, whose golden answers are `off` by so much."""
    folder.mkdir(exist_ok=True)
    file = graphs.write(graph, folder / "model.onnx")
    golden = graphs.golden(file, batched)
    for name, array in golden.items():
        if name.startswith("outputs/") and array.dtype.kind == "f":
            golden[name] = array + array.dtype.type(off)
    write_golden(folder, golden)
    return ort.InferenceSession(file), folder


GRAPHS = {
    "a number an item": (graphs.AFFINE, True, 8),
    "scalars without a batch": (graphs.UNBATCHED, False, 0),
    "open lengths": (graphs.LENGTHS, True, 8),
    "a table": (graphs.PICK, True, 8),
    "text": ("t (string[batch, 2] text) => (string[batch, 2] same) { same = Identity(text) }", True, 8),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_right_answers_pass_in_every_shape(backend: Import, tmp_path: Path, name: str) -> None:
    graph, batched, largest = GRAPHS[name]
    session, folder = version(tmp_path, graph, batched)
    assert backend("golden_check").check_golden({"max_batch_size": largest}, session, folder, None) == ""


@pytest.mark.parametrize("name", ["a number an item", "scalars without a batch", "open lengths", "a table"])
def test_wrong_ones_are_refused_and_the_output_is_named(backend: Import, tmp_path: Path, name: str) -> None:
    graph, batched, largest = GRAPHS[name]
    session, folder = version(tmp_path, graph, batched, off=0.01)
    with pytest.raises(
        ValueError, match=r"golden answers: output '\w+' differs by 0\.01 from what was proven, allowed"
    ):
        backend("golden_check").check_golden({"max_batch_size": largest}, session, folder, None)


@pytest.mark.parametrize(
    ("changes", "raises", "said"),
    [
        ({}, True, ""),
        ({"parameters": {"golden_check": {"string_value": "warn"}}}, False, "differs by"),
        ({"parameters": {"golden_check": {"string_value": "off"}}}, False, ""),
        ({"parameters": {"golden_check": {"string_value": "maybe"}}}, True, "allowed are refuse, warn, off"),
        # Whoever asks for fewer bits gets them, and is told.
        ({"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [
            {"name": "cuda", "parameters": {"use_tf32": "1"}}]}}}, False, "differs by"),
    ],
)  # fmt: skip
def test_what_follows_is_the_configurations_choice(
    backend: Import, tmp_path: Path, changes: dict[str, Any], raises: bool, said: str
) -> None:
    session, folder = version(tmp_path, graphs.AFFINE, off=0.01)
    check = backend("golden_check").check_golden
    config = {"max_batch_size": 8, **changes}
    if raises:
        with pytest.raises(ValueError, match=said or "set the parameter 'golden_check' to 'warn'"):
            check(config, session, folder, None)
    else:
        assert said in check(config, session, folder, None)


def test_what_cannot_be_asked_is_let_pass(backend: Import, tmp_path: Path) -> None:
    session, folder = version(tmp_path, graphs.AFFINE, off=0.01)
    check, config = backend("golden_check").check_golden, {"max_batch_size": 8}
    (folder / "manifest.json").write_text('{"source": {"repeatable": false}}')
    assert check(config, session, folder, None) == "", "it draws random numbers"
    (folder / "manifest.json").unlink()
    other, _ = version(tmp_path / "other", graphs.PICK)
    assert check(config, other, folder, None) == "", "the file has been changed"
    (folder / "golden.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is damaged"):
        check(config, session, folder, None)
    (folder / "golden.npz").unlink()
    assert check(config, session, folder, None) == "", "a folder that was made elsewhere"


def test_a_manifests_tolerance_is_what_counts(backend: Import, tmp_path: Path) -> None:
    session, folder = version(tmp_path, graphs.AFFINE, off=0.01)
    (folder / "manifest.json").write_text('{"tolerance": {"float32": [0.1, 0]}}')
    assert backend("golden_check").check_golden({"max_batch_size": 8}, session, folder, None) == ""


def test_only_some_items_are_asked(backend: Import, tmp_path: Path) -> None:
    session, folder = version(tmp_path, graphs.PICK)
    many = np.arange(64).reshape(64, 1) % 10
    write_golden(folder, {"inputs/index": many, "outputs/value": (10 * many).astype(np.float32)})
    config = {"max_batch_size": 2}
    assert backend("golden_check").check_golden(config, session, folder, None) == ""
    write_golden(folder, {"inputs/index": many, "outputs/value": (10 * many + (many > 0)).astype(np.float32)})
    with pytest.raises(ValueError, match="differs by 1 "):
        backend("golden_check").check_golden(config, session, folder, None)


def test_nothing_found_is_not_what_was_found(backend: Import, tmp_path: Path) -> None:
    """The first axis is a detection each: none of them is no prefix of three."""
    graph = "found (float[k] x) => (int64[m, 1] at) { row = NonZero(x) at = Transpose(row) }"
    session, folder = version(tmp_path, graph, batched=False)
    check = backend("golden_check").check_golden
    for count in (0, 1, 3):
        found, x = np.arange(count)[np.newaxis, :, np.newaxis], (np.arange(4) < count).astype(np.float32)[np.newaxis]
        write_golden(folder, {"inputs/x": x, "outputs/at": found})
        assert check({}, session, folder, None) == ""
        write_golden(folder, {"inputs/x": 0 * x, "outputs/at": found})
        if count:
            with pytest.raises(ValueError, match="output 'at' differs by nan"):
                check({}, session, folder, None)
