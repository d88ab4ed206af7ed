"""The proof of changes: the file before and after them is asked the same, and has to answer the same.

Bit for bit where ONNX Runtime optimizes nothing, for a change computes nothing. As it is served it optimizes: it may
fold a constant or pull a transpose through a product, which then sums in another order; so the answers of the session
that will serve the file are held to the tolerances of every comparison of this project.
"""

from typing import Any

import numpy as np

from conch.contracts.comparison import EXACT, TOLERANCES, compare
from serving.errors import ServingError
from serving.onnx_files.changed_file import ChangedFile, raw_answers
from serving.onnx_files.changes.change import Arrays
from serving.onnx_files.signature import open_session

NOTHING_OPTIMIZED = 2
"""Of `optimization { graph { level } }`."""


def prove_changes(file: ChangedFile, feeds: Arrays) -> dict[str, Any]:
    """Ask the file as it came and the one as it is now.

    Args:
        file: The changes.
        feeds: Inputs of the changed file, which it is known to run on.

    Returns:
        What was shown, for parity.json: `changes`, `same_bits` (where nothing is optimized), `largest_difference` (of
        what is served).

    Raises:
        ServingError: An answer differs; the output is named.
    """
    moved_only = all(change.exact for change in file.changes)
    same_bits, largest = True, 0.0
    for level in (NOTHING_OPTIMIZED, 0):
        before = open_session(file.original, file.where, level)
        expected = file.answers(raw_answers(before, file.inputs_before(feeds), f"{file.where}, as it came"))
        del before  # one of a large model at a time
        after = file.session() if level == 0 else open_session(file.path, file.where, level)
        got = raw_answers(after, feeds, f"{file.where}, changed")
        if got.keys() != expected.keys():
            raise ServingError(f"{file.where}: changed it has the outputs {sorted(got)}, not {sorted(expected)}")
        for name, answer in got.items():
            one, other = np.asarray(answer), np.asarray(expected[name])
            difference, agrees = compare(one, other, TOLERANCES.get(one.dtype.name, EXACT))
            same_bits &= level == 0 or _same_bits(one, other)
            if not agrees or (moved_only and not same_bits):
                raise ServingError(
                    f"{file.where}: output {name!r} is not what the file as it came answers (largest difference "
                    f"{difference:.3g}) after these changes: {'; '.join(map(str, file.changes))}"
                )
            largest = max(largest, difference if level == 0 else 0.0)
    return {"changes": [str(change) for change in file.changes], "same_bits": same_bits, "largest_difference": largest}


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return bool((one == other).all()) if one.dtype == object else one.tobytes() == other.tobytes()
