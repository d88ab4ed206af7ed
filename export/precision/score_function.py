"""Judges a variant by a function of the user's: `FILE.py:NAME` takes what runs the model and returns a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from conch.contracts.errors import ConchError
from export.modules.module_source import named_in_file
from export.precision.judge import Judged, chance_of_share
from export.precision.original import Original
from training.predict import in_batches
from training.score import AllowedLoss, Metric, Predict

LOST = AllowedLoss(0.01, relative=True)
"""What may be lost where nobody says otherwise: 1 % of fp32's number."""


class ScoreJudge:
    """The function's number, higher is better.

    The function is called as `score(predict)`. `predict` takes a dictionary of arrays by input name, any number of rows
    where the model is served in batches and else one item as the model takes it, and returns one by output name.
    """

    remarks: Sequence[str] = ()

    def __init__(self, original: Original, predict: Predict, source: str, allowed: AllowedLoss | None) -> None:
        """Args:
        original: the model.
        predict: runs its fp32 file.
        source: `path/to/file.py:name`.
        allowed: what may be lost of the number; `LOST` without.

        Raises:
            ConchError: there is no such function, it raises, returns no number, or not the same one twice.
        """
        found = named_in_file(source)
        if not callable(found):
            raise ConchError(f"--score {source} is a {type(found).__name__}; it must be a function: def score(predict)")
        self._function: Callable[[Predict], Any] = found
        self._source, self._original, self._rows = source, original, 0
        name = source.rpartition(":")[2]
        self.described = f"{name} of {source.rpartition(':')[0].rpartition('/')[2]}"
        value, again = self._run(predict), self._run(predict)
        if not np.isfinite(value):
            raise ConchError(f"--score {source} returned {value}; it must be a finite number, higher is better")
        if value != again:
            raise ConchError(
                f"--score {source} gives {value:.6g} and then {again:.6g} for the same file: what differs could not be "
                "told from chance; seed what it draws"
            )
        self.fp32 = (Metric(name, value),)
        self.allowed: Mapping[str, AllowedLoss] = {name: allowed or LOST}

    def judge(self, predict: Predict) -> Judged:
        """The number of a variant."""
        metric = Metric(self.fp32[0].name, self._run(predict))
        return Judged((metric,), tuple(self._cannot_tell()))

    def _cannot_tell(self) -> list[str]:
        """A number between 0 and 1 may be a share of what was asked for: then chance is known."""
        metric = self.fp32[0]
        allowed = self.allowed[metric.name]
        lost = allowed.amount * (abs(metric.value) if allowed.relative else 1)
        if not self._rows:
            return [f"{metric.name} asked the model nothing: it cannot tell anything of it"]
        chance = chance_of_share(metric.value, self._rows) if 0 <= metric.value <= 1 else 0.0
        if chance <= lost:
            return []
        return [
            f"{metric.name} asked for {self._rows} items: where it is a share of them, chance alone moves it by "
            f"{chance:.2g}, and whether {allowed} was lost it cannot tell"
        ]

    def _run(self, predict: Predict) -> float:
        self._rows = 0
        batch = self._original.largest_batch
        run = in_batches(predict, batch) if batch else predict

        def asked(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            self._rows += len(next(iter(inputs.values()))) if batch else 1
            return run(inputs)

        try:
            return float(self._function(asked))
        except ConchError:
            raise
        except Exception as error:  # the user's own code
            raise ConchError(
                f"--score {self._source} raised {type(error).__name__}: {' '.join(str(error).split())[:300]}; it gets "
                "predict, which takes and returns a dictionary of arrays by name, and returns a number"
            ) from error
