import numpy as np
import pytest

from conch.contracts.answers import WrongAnswer, check_answer
from conch.contracts.comparison import TOLERANCES

FLOATS = np.array([[0.1, 0.9]], dtype=np.float32)
PIXELS = np.array([[[[0], [255]]]], dtype=np.uint8)
GOLDEN: dict[str, np.ndarray] = {"probabilities": FLOATS, "image": PIXELS}


def test_right_answer_passes_also_within_tolerance() -> None:
    check_answer({"probabilities": FLOATS, "image": PIXELS}, GOLDEN, TOLERANCES)
    check_answer(
        {"probabilities": FLOATS + np.float32(1e-5), "image": np.abs(PIXELS.astype(int) - 1).astype(np.uint8)},
        GOLDEN,
        TOLERANCES,
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"image": PIXELS}, "probabilities is missing"),
        ({"probabilities": None, "image": PIXELS}, "probabilities is missing"),
        ({"probabilities": FLOATS[:, ::-1], "image": PIXELS}, "probabilities: largest difference 8e-01"),
        ({"probabilities": FLOATS * np.float32(np.nan), "image": PIXELS}, "probabilities: largest difference nan"),
        ({"probabilities": FLOATS, "image": PIXELS + np.uint8(2)}, "image: largest difference"),
        ({"probabilities": FLOATS[0], "image": PIXELS}, r"float32 \[2\] and should be float32 \[1, 2\]"),
        ({"probabilities": FLOATS.astype(np.float64), "image": PIXELS}, "is float64"),
    ],
)
def test_wrong_answer_names_tensor_and_difference(answer: dict[str, np.ndarray | None], words: str) -> None:
    with pytest.raises(WrongAnswer, match=words):
        check_answer(answer, GOLDEN, TOLERANCES)


def test_pixels_do_not_wrap_around() -> None:
    with pytest.raises(WrongAnswer, match="3e\\+02"):
        check_answer({"image": np.array([0], np.uint8)}, {"image": np.array([255], np.uint8)}, TOLERANCES)


def test_what_has_no_tolerance_must_be_equal() -> None:
    tokens = np.array([2**60, 2], dtype=np.int64)
    check_answer({"tokens": tokens}, {"tokens": tokens}, TOLERANCES)
    with pytest.raises(WrongAnswer):
        check_answer({"tokens": tokens + 1}, {"tokens": tokens}, TOLERANCES)
    with pytest.raises(WrongAnswer, match="flags differs"):
        check_answer({"flags": np.array([True])}, {"flags": np.array([False])}, TOLERANCES)


def test_two_rows_swapped_are_caught() -> None:
    rows = np.array([[0.1, 0.9], [0.7, 0.3]], dtype=np.float32)
    with pytest.raises(WrongAnswer):
        check_answer({"probabilities": rows[::-1]}, {"probabilities": rows}, TOLERANCES)


def test_text_comes_as_bytes_and_is_held_against_text() -> None:
    golden = {"words": np.array([["Käse", ""]])}
    check_answer({"words": np.array([["Käse".encode(), b""]], dtype=object)}, golden, TOLERANCES)
    check_answer({"words": np.empty((0, 2), object)}, {"words": np.empty((0, 2), str)}, TOLERANCES)
    for wrong, words in (
        (np.array([[b"Kase", b""]], dtype=object), "words differs"),
        (np.array([[b"K\xe4se", b""]], dtype=object), "words differs"),
        (np.array(["Käse".encode(), b""], dtype=object), r"\[2\] and should be .* \[1, 2\]"),
        (np.array([[1.0, 2.0]]), "is float64"),
    ):
        with pytest.raises(WrongAnswer, match=words):
            check_answer({"words": wrong}, golden, TOLERANCES)


def test_a_scalar_a_half_and_an_unsigned_long() -> None:
    golden: dict[str, np.ndarray] = {
        "half": np.array([1.0, np.inf, -np.inf, np.nan], np.float16),
        "long": np.array([2**64 - 1], np.uint64),
        "none": np.empty((0, 3), np.int8),
    }
    check_answer(golden, golden, TOLERANCES)
    with pytest.raises(WrongAnswer, match="long: largest difference 1e"):
        check_answer(golden | {"long": golden["long"] - np.uint64(1)}, golden, TOLERANCES)
