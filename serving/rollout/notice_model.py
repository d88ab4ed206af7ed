"""What Triton runs as `MODEL-rollout`: takes what clients saw of a version on trial, and gives it to who decides.

It stands alone: Triton loads it in a process of the Python backend, from a copy of this file.
"""

import collections
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

MOST_ROWS = 200_000
"""Beyond, the oldest are dropped."""
ATTENDED_S = 30.0
"""A rollout that has taken nothing for so long was killed: clients are told, and leave the candidate alone."""


class TritonPythonModel:
    """The interface that Triton's Python backend calls; all requests come to one instance, one after the other."""

    def initialize(self, args: dict[str, str]) -> None:
        """Begin with nothing."""
        self._rows: collections.deque[list[float]] = collections.deque(maxlen=MOST_ROWS)
        self._last = time.monotonic()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        self._rows.extend(pb_utils.get_input_tensor_by_name(request, "rows").as_numpy().tolist())
        taken: list[list[float]] = []
        if pb_utils.get_input_tensor_by_name(request, "take").as_numpy().any():
            taken, self._last = list(self._rows), time.monotonic()
            self._rows.clear()
        attended = time.monotonic() - self._last < ATTENDED_S
        outputs = [
            pb_utils.Tensor("taken", np.array(taken, np.float64).reshape(-1, 4)),
            pb_utils.Tensor("attended", np.array([attended])),
        ]
        return pb_utils.InferenceResponse(outputs)
