"""Is a version on trial worse than the live one, by what clients saw of both at the same time?

Three tests, each one-sided, and each at several looks, among which `ALPHA` is divided (Bonferroni):

* errors: Fisher's exact test, whether requests fail more often on the candidate;
* latency: the Mann-Whitney U test, whether the candidate is slower than the live version by more than `SLOWER`;
* answers, of copies: the exact binomial test, whether more of them differ than may.

So of versions that are no worse at most `ALPHA` are taken back. What goes unnoticed depends on how much was seen:
`needed` is so many requests of the candidate that one of which `HARM` fail is taken back with `POWER`, where the live
version fails none.

Sources: R. A. Fisher, The Design of Experiments (1935); H. B. Mann and D. R. Whitney, Annals of Mathematical
Statistics 18 (1947).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

ALPHA = 0.05
LOOKS = 5
TESTS = 3
LEVEL = ALPHA / (TESTS * LOOKS)
"""Of one test at one look."""
SLOWER = 1.2
"""How many times the live version's latency the candidate's may be."""
HARM, POWER = 0.02, 0.9


@dataclass
class Side:
    """What clients saw of one version."""

    seconds: list[float] = field(default_factory=list)
    """Of each request that was answered."""
    failed: int = 0

    @property
    def requests(self) -> int:
        """Answered or failed."""
        return len(self.seconds) + self.failed

    def figures(self) -> dict[str, float | int | None]:
        """For the history: `requests`, `failed`, `p50_ms`, `p99_ms`."""
        p50, p99 = np.percentile(self.seconds, [50, 99]) * 1e3 if self.seconds else (math.nan, math.nan)
        shown = {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)} if self.seconds else {}
        return {"requests": self.requests, "failed": self.failed, **shown}


@dataclass(frozen=True)
class Judgement:
    """Of one look. Each `p` is how likely so much more, or more, would be seen of a version that is no worse."""

    p_errors: float
    p_latency: float
    p_differing: float

    @property
    def worse(self) -> str:
        """In what the candidate is worse; empty where that is not shown."""
        found = {
            "more requests fail": self.p_errors,
            f"it is more than {SLOWER:g} times as slow": self.p_latency,
            "too many answers differ": self.p_differing,
        }
        return " and ".join(f"{what} (p = {p:.2g})" for what, p in found.items() if p < LEVEL)


def judge(live: Side, candidate: Side, differing: int = 0, may_differ: float = 0.0) -> Judgement:
    """Hold the candidate against the live version; `differing` of its answers are others, and a share may be."""
    from scipy.stats import binom, fisher_exact, mannwhitneyu  # a second or two, of which other commands have no use

    table = [[candidate.failed, len(candidate.seconds)], [live.failed, len(live.seconds)]]
    p_errors = fisher_exact(table, alternative="greater").pvalue
    p_differing = binom.sf(differing - 1, len(candidate.seconds), may_differ)
    p_latency = 1.0
    if live.seconds and candidate.seconds:
        allowed = np.asarray(live.seconds) * SLOWER
        p_latency = mannwhitneyu(candidate.seconds, allowed, alternative="greater").pvalue
    return Judgement(float(p_errors), float(p_latency), float(p_differing))


def needed(live_for_each: float) -> int:
    """So many requests of the candidate, where the live version gets `live_for_each` times as many meanwhile."""
    from scipy.stats import binom

    requests = 50
    while True:
        failures = _shown_by(requests, round(requests * live_for_each))
        if failures is not None and binom.sf(failures - 1, requests, HARM) >= POWER:
            return requests
        requests += 10


def looks(requests: int) -> Sequence[int]:
    """After how many requests of the candidate to judge."""
    return [math.ceil(requests * look / LOOKS) for look in range(1, LOOKS + 1)]


def _shown_by(candidate: int, live: int) -> int | None:
    """The fewest failures of the candidate that show it to fail more often, where the live version fails none."""
    p = 1.0
    for failures in range(1, candidate + 1):  # the chance that all failures are the candidate's
        p *= (candidate - failures + 1) / (candidate + live - failures + 1)
        if p < LEVEL:
            return failures
    return None
