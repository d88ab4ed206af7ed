"""The comparison of two checkouts tells what is there, and nothing that is not, whatever a busy machine does."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from tests.bench.compare import verdicts
from tests.bench.compare.__main__ import Settings, measure, report
from tests.bench.compare.verdicts import FEWEST_ROUNDS, compare

ROUNDS = 20


def costs(numbers: np.random.Generator, factor: float = 1.0, rounds: int = ROUNDS) -> tuple[list[float], list[float]]:
    """Of the base and of ours, which takes `factor` times as long: a round of the machine's own speed, each side with a
    noise of 2 %, and some turns that something else ran beside."""
    machine = numbers.lognormal(0, 0.3, rounds)
    base, ours = (machine * numbers.lognormal(0, 0.02, rounds) for _ in range(2))
    for side in (base, ours):
        side[numbers.random(rounds) < 0.05] *= 1.5
    return list(base), list(factor * ours)


def test_of_equals_a_difference_is_shown_once_in_a_hundred_at_most() -> None:
    numbers = np.random.default_rng(0)
    told = sum(compare(*costs(numbers)).verdict != "no difference shown" for _ in range(1000))
    assert told <= 18, "of 1000; 10 are expected at most, and more than 18 would be chance in 1 % of such runs"


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, "slower"), (1 / 1.1, "faster")])
def test_ten_per_cent_are_seen(factor: float, verdict: str) -> None:
    numbers = np.random.default_rng(1)
    found = [compare(*costs(numbers, factor)) for _ in range(100)]
    assert sum(one.verdict == verdict for one in found) >= 95
    assert sum(one.low <= factor <= one.high for one in found) >= 97
    assert np.median([one.ratio for one in found]) == pytest.approx(factor, rel=0.01)
    assert [one.alarming for one in found] == [one.verdict == "slower" and one.ratio > 1.05 for one in found]


def test_one_disturbed_round_moves_nothing_far() -> None:
    base, ours = [1.0] * 12, [1.0 + 0.001 * number for number in range(12)]
    calm = compare(base, ours)
    ours[3] = 50.0
    found = compare(base, ours)
    assert found.ratio == pytest.approx(calm.ratio, abs=0.003)


@pytest.mark.parametrize(("rounds", "beyond"), [(7, None), (8, 0), (12, 1), (16, 2), (20, 3), (30, 7)])
def test_the_interval_is_that_of_the_tables(rounds: int, beyond: int | None) -> None:
    """Critical values of the sign test, two-sided at 1 %."""
    ratios = [1 + rank / 1000 for rank in range(rounds)]
    found = compare([1.0] * rounds, ratios)
    if beyond is None:
        assert (found.low, found.high) == (0, math.inf)
        assert found.verdict == "no difference shown"
    else:
        assert (found.low, found.high) == (ratios[beyond], ratios[-1 - beyond])
    assert (beyond is not None) == (rounds >= FEWEST_ROUNDS)


@pytest.mark.parametrize(
    ("base", "ours", "words"),
    [
        ([], [], "0 and 0 rounds"),
        ([1.0], [1.0, 2.0], "1 and 2 rounds"),
        ([1.0, 0.0], [1.0, 1.0], "a cost of 0.0"),
        ([1.0, 1.0], [1.0, math.nan], "a cost of nan"),
    ],
)
def test_what_cannot_be_compared_is_an_error(base: list[float], ours: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        compare(base, ours)


def test_checkouts_take_turns_in_alternating_order_and_the_first_round_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[str] = []

    def turn(checkout: Path, group: str, folder: Path, side: str) -> dict[str, float]:
        turns.append(side)
        return {"row": 100.0 if len(turns) <= 2 else {"base": 2.0, "ours": 3.0}[side]}

    monkeypatch.setattr("tests.bench.compare.__main__._turn", turn)
    both = {"base": Path("a"), "ours": Path("b")}
    found, failed = measure(both, Settings("main", rounds=3, groups=("start",)))
    assert (found, failed) == ({"row": {"base": [2.0] * 3, "ours": [3.0] * 3}}, {})
    assert turns == ["ours", "base", "base", "ours", "ours", "base", "base", "ours"]


def test_what_one_of_them_cannot_do_is_told_and_costs_no_other_row(tmp_path: Path) -> None:
    """A real turn, of a checkout whose package is broken."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("raise RuntimeError('too old')\n")
    found, failed = measure({"base": tmp_path, "ours": tmp_path}, Settings("main", rounds=1, groups=("training",)))
    assert found == {}
    assert re.fullmatch(r"(base|ours) ended with 1: RuntimeError: too old", failed["training"])
    assert "training was not measured: " in report({}, "abc", failed)


def test_the_page_says_what_was_shown() -> None:
    page = report({"a row": compare([1.0] * 9, [1.2] * 9), "short": verdicts.compare([1.0], [1.2])}, "abc1234", {})
    assert "| a row | 1.200 | 1.200 to 1.200 | 9 | slower |" in page
    assert "| short | 1.200 | needs 8 rounds | 1 | no difference shown |" in page
