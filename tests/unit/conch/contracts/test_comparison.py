"""One comparison for the export's proof, the trial of an unknown file and the load test."""

import numpy as np
import pytest

from conch.contracts.answers import WrongAnswer, check_answer
from conch.contracts.comparison import EXACT, TOLERANCES, compare, distance

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("got", "expected", "agrees"),
    [
        ([-INF, 1.0], [-INF, 1.0], True),
        ([NAN, 1.0], [NAN, 1.0], True),
        ([INF], [-INF], False),
        ([3.0], [-INF], False),  # infinitely far off, within a share of infinity
        ([-INF], [3.0], False),
        ([NAN], [3.0], False),
        ([3.0], [NAN], False),
        ([NAN], [INF], False),
        ([1.00001], [1.0], True),
        ([1.01], [1.0], False),
    ],
)
def test_what_is_no_number_agrees_with_itself_and_with_nothing_else(
    got: list[float], expected: list[float], agrees: bool
) -> None:
    one, other = np.array([got], np.float32), np.array([expected], np.float32)
    assert compare(one, other, TOLERANCES["float32"]).agrees is agrees
    # The load test asks the same question.
    if agrees:
        check_answer({"y": one}, {"y": other}, TOLERANCES)
    else:
        with pytest.raises(WrongAnswer, match="largest difference"):
            check_answer({"y": one}, {"y": other}, TOLERANCES)


def test_integers_are_subtracted_as_such() -> None:
    for dtype in (np.int64, np.uint64):
        big = np.array([2**60], dtype)
        assert compare(big + dtype(1), big) == (1.0, False)
    assert distance(np.array([-(2**63)]), np.array([2**63 - 1])) == float(2**64)
    assert distance(np.array([0], np.uint8), np.array([255], np.uint8)) == 255
    assert distance(np.array([2**60 + 1]), np.array([2**60], np.uint64)) == 1
    assert compare(np.array([-128], np.int8), np.array([-127], np.int8), TOLERANCES["int8"]).agrees
    assert not compare(np.array([127], np.int8), np.array([-128], np.int8), TOLERANCES["int8"]).agrees


def test_text_and_booleans_are_equal_or_not() -> None:
    assert compare(np.array(["a"]), np.array(["a"]), (1, 1)).agrees
    assert not compare(np.array(["a"]), np.array(["b"]), (1, 1)).agrees
    assert not compare(np.array([True]), np.array([False]), (1, 1)).agrees


def test_other_shapes_and_nothing_at_all() -> None:
    assert not compare(np.zeros((1, 2)), np.zeros((2, 1)), (1, 1)).agrees
    assert compare(np.zeros((0, 3)), np.zeros((0, 3)), EXACT) == (0.0, True)


@pytest.mark.filterwarnings("error")
def test_an_infinity_under_no_relative_tolerance_is_no_warning() -> None:
    assert compare(np.array([INF]), np.array([INF]), (1, 0)).agrees
    assert not compare(np.array([0.0]), np.array([INF]), (1, 0)).agrees
