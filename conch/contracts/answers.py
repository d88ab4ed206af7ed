"""Is an answer of a server the golden one?"""

from collections.abc import Mapping

import numpy as np

from conch.contracts.comparison import EXACT, Tolerances, compare
from conch.contracts.golden import as_text


class WrongAnswer(Exception):
    """The server answered in time, but not what it should have."""


def check_answer(
    got: Mapping[str, np.ndarray | None], golden: Mapping[str, np.ndarray], tolerances: Tolerances
) -> None:
    """Raises WrongAnswer naming the tensor and its largest difference. Text is bytes in `got` and text in `golden`."""
    for name, expected in golden.items():
        found = got.get(name)
        if found is None:
            raise WrongAnswer(f"{name} is missing from the answer")
        answer = as_text(found)
        same_type = answer.dtype == expected.dtype or answer.dtype.kind == expected.dtype.kind == "U"
        if not same_type or answer.shape != expected.shape:
            raise WrongAnswer(
                f"{name} is {answer.dtype} {list(answer.shape)} and should be {expected.dtype} {list(expected.shape)}"
            )
        difference, agrees = compare(answer, expected, tolerances.get(str(expected.dtype), EXACT))
        if not agrees:
            # One digit, for Locust keeps a row for each different message.
            numbers = expected.dtype.kind in "fiu"
            raise WrongAnswer(f"{name}: largest difference {difference:.0e}" if numbers else f"{name} differs")
