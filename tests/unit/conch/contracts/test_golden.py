from pathlib import Path

import numpy as np
import pytest

from conch.contracts.golden import as_text, golden_arrays, read_golden, write_golden

WORDS = np.array(["shell", "Käse", ""], dtype=object)


def test_a_number_an_item_has_an_axis_and_text_needs_no_pickle(tmp_path: Path) -> None:
    arrays = golden_arrays({"text": WORDS, "x": np.zeros((3, 2, 0))}, {"long": np.array([True, False, False])})
    assert {key: array.shape for key, array in arrays.items()} == {
        "inputs/text": (3, 1), "inputs/x": (3, 2, 0), "outputs/long": (3, 1),
    }  # fmt: skip
    write_golden(tmp_path, arrays)
    inputs, outputs = read_golden(tmp_path)
    assert inputs["text"].tolist() == [["shell"], ["Käse"], [""]]
    assert inputs["text"].dtype.kind == "U"
    assert outputs["long"].tolist() == [[True], [False], [False]]


def test_what_was_not_made_by_golden_arrays_is_written_and_read_as_if_it_were(tmp_path: Path) -> None:
    flat = {"inputs/text": np.char.encode(WORDS.astype(str), "utf-8"), "outputs/total": np.arange(3)}
    write_golden(tmp_path, flat)
    with np.load(tmp_path / "golden.npz") as file:
        assert {key: (array.shape, array.dtype.kind) for key, array in file.items()} == {
            "inputs/text": ((3, 1), "U"), "outputs/total": ((3, 1), "i"),
        }  # fmt: skip
    np.savez(tmp_path / "golden.npz", **flat)  # as a version from before
    inputs, outputs = read_golden(tmp_path)
    assert (inputs["text"].tolist(), outputs["total"].tolist()) == ([["shell"], ["Käse"], [""]], [[0], [1], [2]])


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (2, 0)])
def test_text_of_any_kind_and_shape(shape: tuple[int, ...]) -> None:
    for word in ("Käse", "Käse".encode(), np.str_("Käse")):
        array = as_text(np.full(shape, word, dtype=object))
        assert (array.shape, array.dtype.kind, set(array.flat)) == (shape, "U", {"Käse"} if array.size else set())
    numbers = np.ones(shape, np.float16)
    assert as_text(numbers) is numbers


def test_bytes_that_are_no_text_stay_what_they_are_told_apart_by() -> None:
    broken = as_text(np.array([b"\xff", b"\xfe"], dtype=object))
    assert broken[0] != broken[1]
