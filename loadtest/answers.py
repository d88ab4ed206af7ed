"""Is an answer the right one?"""

from collections.abc import Mapping

import numpy as np

from loadtest.golden import Tolerance


class WrongAnswer(Exception):
    """The server answered in time, but not what it should have."""


def check_answer(got: Mapping[str, np.ndarray | None], golden: Mapping[str, np.ndarray], tolerance: Tolerance) -> None:
    """Raises WrongAnswer naming the tensor and its largest difference.

    What `tolerance` does not name by dtype must be equal.
    """
    for name, expected in golden.items():
        answer = got.get(name)
        if answer is None:
            raise WrongAnswer(f"{name} is missing from the answer")
        if answer.dtype != expected.dtype or answer.shape != expected.shape:
            raise WrongAnswer(
                f"{name} is {answer.dtype} {list(answer.shape)} and should be {expected.dtype} {list(expected.shape)}"
            )
        _check_values(name, answer, expected, tolerance)


def _check_values(name: str, answer: np.ndarray, expected: np.ndarray, tolerance: Tolerance) -> None:
    if expected.dtype.kind not in "fiu":
        if not np.array_equal(answer, expected):
            raise WrongAnswer(f"{name} differs")
        return
    wide = np.float64 if expected.dtype.kind == "f" else np.int64
    difference = np.abs(answer.astype(wide) - expected.astype(wide))
    absolute, relative = tolerance.get(str(expected.dtype), (0, 0))
    wrong = ~(difference <= absolute + relative * np.abs(expected.astype(wide)))  # a NaN compares as false: wrong
    if wrong.any():
        # One digit, for Locust keeps a row for each different message.
        largest = "nan" if np.isnan(difference).any() else f"{difference.max():.0e}"
        raise WrongAnswer(f"{name}: largest difference {largest}")
