"""Where eight bits are slower than fp32, the gate looks for the layers that make them so, and keeps those in fp32.

A machine's speed is no fact to test by: gate and quantizer are mocks whose layers have the speeds that they are told.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export.precision.gate import Try, find_variant, slower

LAYERS = ("first", "second", "third")


class MockQuantizer:
    """Writes the names of the layers that it keeps in fp32."""

    methods = ("min-max",)
    groups = LAYERS
    describes: Mapping[str, str] = {}

    def write(self, path: Path, method: str, kept: set[str]) -> None:
        path.write_text(" ".join(sorted(kept)))


class MockGate:
    """Times a file by what each layer takes in 8 bits; fp32 takes 1 a layer. `failing` variants do not pass."""

    def __init__(self, milliseconds: Mapping[str, float], failing: Collection[frozenset[str]]) -> None:
        self.original: Any = SimpleNamespace(name="mine")
        self.milliseconds, self.failing = milliseconds, failing

    def speed(self, path: Path) -> float:
        kept = path.read_text().split()
        return len(LAYERS) / sum(1.0 if name in kept else self.milliseconds[name] for name in LAYERS)

    def try_out(self, path: Path, quantizer: MockQuantizer, method: str, kept: tuple[str, ...]) -> Try:
        failures = ("it lost too much",) if frozenset(kept) in self.failing else ()
        return Try(
            method=method, kept=kept, describes={}, layers=3, path=path, size=1, size_ratio=0.5, failures=failures,
            speedup=self.speed(path), speedup_alone=1.0,
        )  # fmt: skip


def found(
    folder: Path, milliseconds: Mapping[str, float], failing: Collection[frozenset[str]] = (), no_slower: bool = True
) -> tuple[Try, list[Try]]:
    gate: Any = MockGate(milliseconds, failing)
    return find_variant(gate, [MockQuantizer()], folder, no_slower=no_slower)


def test_the_layers_that_are_slow_in_8_bits_stay_in_fp32(tmp_path: Path) -> None:
    chosen, tries = found(tmp_path, {"first": 3.0, "second": 0.5, "third": 2.0})
    assert chosen.kept == ("first", "third")
    assert chosen.speedup == pytest.approx(1.2)
    assert [one.kept for one in tries] == [(), ("first",), ("first", "third")]


def test_nothing_is_looked_for_where_it_is_fast_or_only_the_size_counts(tmp_path: Path) -> None:
    fast, small = tmp_path / "fast", tmp_path / "small"
    fast.mkdir()
    small.mkdir()
    assert len(found(fast, dict.fromkeys(LAYERS, 0.5))[1]) == 1
    chosen, tries = found(small, dict.fromkeys(LAYERS, 2.0), no_slower=False)
    assert (chosen.kept, len(tries)) == ((), 1)


def test_what_is_fast_and_does_not_pass_is_not_taken(tmp_path: Path) -> None:
    chosen, tries = found(tmp_path, {"first": 3.0, "second": 0.5, "third": 1.1}, {frozenset({"first"})})
    assert chosen.kept == ("first", "third")
    assert tries[1].failures == ("it lost too much",)


def test_where_no_part_is_faster_the_smallest_is_named_and_what_the_fastest_reaches(tmp_path: Path) -> None:
    chosen, tries = found(tmp_path, {"first": 2.0, "second": 1.5, "third": 1.5})
    assert chosen.kept == ()
    said = str(slower("mine", "int8", chosen, tries))
    assert "runs 0.60 times as fast as fp32 here" in said
    assert ", 0.86 with 2 layers in fp32; serve fp32" in said
