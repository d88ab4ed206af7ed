"""The latency promise that a configuration has to keep."""

import re
from dataclasses import dataclass
from typing import Self

from serving.errors import ServingError
from serving.tune.load import Point

PATTERN = re.compile(r"\s*(p50|p99)\s*(?:<=?|=)\s*([0-9]+(?:\.[0-9]+)?)\s*ms\s*")


@dataclass(frozen=True)
class LatencyLimit:
    """At most so many milliseconds at a percentile; without a limit, every latency will do."""

    percentile: str = "p99"
    limit_ms: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Of "p99=5ms", "p99<5ms" and the like; None promises nothing.

        Raises:
            ServingError: It is something else.
        """
        if text is None:
            return cls()
        found = PATTERN.fullmatch(text)
        if not found or float(found[2]) <= 0:
            raise ServingError(f"--promise {text}: expected p50 or p99 and a limit above 0, as p99=5ms")
        return cls(found[1], float(found[2]))

    @property
    def p99_s(self) -> float | None:
        """The limit of the p99, in seconds; None where none is said."""
        return self.limit_ms / 1000 if self.limit_ms is not None and self.percentile == "p99" else None

    def __str__(self) -> str:
        return "no promise" if self.limit_ms is None else f"{self.percentile} at most {self.limit_ms:g} ms"

    def score(self, point: Point) -> float:
        """The requests/s, or 0 where the promise is broken or the load was too short to tell."""
        if self.limit_ms is None:
            return point.requests_per_s
        got = point.p50_ms if self.percentile == "p50" else point.p99_ms
        return point.requests_per_s if got is not None and got <= self.limit_ms else 0.0

    def best(self, points: list[Point]) -> Point | None:
        """The point that serves the most within the promise; None where none keeps it."""
        kept = [point for point in points if self.score(point) > 0]
        return max(kept, key=self.score) if kept else None
