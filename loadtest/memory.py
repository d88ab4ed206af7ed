"""Does the server's memory grow? A slope with its interval."""

from dataclasses import dataclass

MIB = 1 << 20
SETTLING = 0.2  # share of the samples at the start, while arenas and pools fill
BINS = 60
LEAST_BINS = 30


@dataclass(frozen=True)
class Slope:
    """Of memory, in MiB an hour, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"memory grows by {self.value:.1f} MiB an hour (95 % interval {self.low:.1f} to {self.high:.1f})"


def slope_of(samples: list[tuple[float, float]]) -> Slope | None:
    """Theil and Sen's slope of (seconds, bytes), which single jumps do not move; None for too few samples.

    Neighbouring samples are nearly the same measurement, so their medians in at most BINS stretches are taken, for the
    interval supposes independent ones.
    """
    from scipy.stats import theilslopes  # takes half a second, which every other command would wait for

    kept = samples[int(len(samples) * SETTLING) :]
    size = max(1, -(-len(kept) // BINS))
    stretches = [kept[start : start + size] for start in range(0, len(kept), size)]
    if len(stretches) < LEAST_BINS:
        return None
    middles = [sorted(stretch, key=lambda sample: sample[1])[len(stretch) // 2][1] / MIB for stretch in stretches]
    hours = [sum(time for time, _ in stretch) / len(stretch) / 3600 for stretch in stretches]
    value, _, low, high = theilslopes(middles, hours, alpha=0.95)
    return Slope(float(value), float(low), float(high))
