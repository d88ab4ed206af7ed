import json
from pathlib import Path

import numpy as np
import pytest

from conch.contracts.comparison import TOLERANCES
from conch.contracts.golden import GoldenError
from loadtest.golden import load_golden


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
        {"outputs/y": (2, 1)},
        {"inputs/x": (2, 1)},
        {"inputs/x": (2, 1), "outputs/y": (3, 1)},
        {"inputs/x": (0, 1), "outputs/y": (0, 1)},
    ],
)
def test_arrays_that_do_not_match_are_refused(tmp_path: Path, arrays: dict[str, tuple[int, int]]) -> None:
    version(tmp_path, "1", **{name: np.zeros(shape) for name, shape in arrays.items()})
    with pytest.raises(GoldenError, match="same number of items"):
        load_golden(tmp_path, "cnn")
