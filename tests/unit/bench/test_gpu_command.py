"""A run of `make bench-gpu` on a machine whose GPU is made up: what is kept, what is left to the next run, the page."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench.gpu import __main__ as command
from tests.bench.gpu import device, in_process, over_the_wire, preparing, results
from tests.bench.gpu.plan import CONTENDERS, InProcess, OverTheWire
from tests.bench.gpu.subjects import Files
from tests.bench.rounds import Contender, ContenderFailed

MACHINE = {
    "gpu": dict.fromkeys(device.IDENTITY, "1") | {"name": "NVIDIA X"},
    "processor": "Intel", "versions": {"torch": "2"}, "commit": "abc",
}  # fmt: skip
TIMING = {"median": 1.0, "low": 0.9, "high": 1.1}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cells that were measured, in order; all in the blink of an eye."""
    names: list[str] = []

    def timed(cells: Sequence[InProcess], *_: Any) -> Generator[tuple[InProcess, dict[str, Any]], None, None]:
        for cell in cells:
            names.append(cell.key)
            yield cell, {"ms": dict.fromkeys(CONTENDERS, TIMING), "why": {}}

    def asked(cells: Sequence[OverTheWire], *_: Any) -> Generator[tuple[OverTheWire, dict[str, Any]], None, None]:
        for cell in cells:
            names.append(cell.key)
            yield cell, {"rate": 900.0, "p50_ms": 1.0, "p99_ms": 2.0, "use": {}}

    monkeypatch.setattr(in_process, "measure", timed)
    monkeypatch.setattr(over_the_wire, "measure", asked)
    monkeypatch.setattr(preparing, "prepare", lambda *_: None)
    monkeypatch.setattr(Files, "facts", lambda _: {"item": {"flops": 1, "elements": 1, "weights": 1}})
    monkeypatch.setattr(results, "this_machine", lambda: MACHINE)
    monkeypatch.setattr(command, "peaks", lambda _: {"flops_fp32": 1e12, "flops_fp16": 1e12, "bytes": 1e12})
    monkeypatch.setattr(command, "PAGE", tmp_path / "benchmarks-gpu.md")
    return names


@pytest.mark.slow
def test_parts_add_up_and_nothing_is_measured_twice(measured: list[str], tmp_path: Path) -> None:
    part = command.Settings(artifacts=tmp_path, models=["cnn"], precisions=["fp32"], part="in-process")
    assert command.measure(part) == 0
    assert len(measured) == 4
    whole = command.Settings(artifacts=tmp_path)
    assert command.measure(whole) == 0
    assert len(measured) == len(set(measured)) == 48 + 192
    assert command.measure(whole) == 0
    assert len(measured) == 240
    page = (tmp_path / "benchmarks-gpu.md").read_text()
    assert "NVIDIA X" in page
    assert "21 of 21 met" not in page  # 900 of 64,000 a second is not enough
    assert "13 of 21 met, 21 measured" in page
    assert command.measure(command.Settings(artifacts=tmp_path, models=["gan"], part="in-process", again=True)) == 0
    assert len(measured) == 240 + 8


def test_what_the_time_ran_out_for_is_not_kept(
    measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contenders are ended when the time is over: that they did not answer is no result."""
    clock = iter([0.0, 1.0, 2.0, 3.0, 50.0, *[100.0] * 1000])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock))
    assert command.measure(command.Settings(artifacts=tmp_path, models=["cnn"], minutes=1.0)) == 0
    kept = results.read(tmp_path / "bench-gpu" / "results.json").cells
    assert list(kept) == measured[:1]
    assert len(measured) == 2


class _Dying(Contender):
    """A contender that answers `turns` turns and then is gone."""

    def __init__(self, name: str, turns: int) -> None:
        self.name, self.why, self._turns = name, "", turns

    def turn(self, model: str, batch: int) -> float | None:
        self._turns -= 1
        if self._turns < 0:
            raise ContenderFailed(f"{self.name} ended")
        return 1.0


def test_a_contender_that_dies_leaves_the_others_their_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Running:
        def __enter__(self) -> list[Contender]:
            return [_Dying("well", 1000), _Dying("at once", 0), _Dying("later", 4)]

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(in_process, "start", lambda *_: Running())
    cells = [InProcess("cnn", "fp32", 1), InProcess("cnn", "fp32", 8)]
    first, second = (row for _, row in in_process.measure(cells, [], "cpu", Path(), 1.0))
    assert set(first["ms"]) == {"well"}
    assert first["why"] == {"at once": "at once ended", "later": "later ended"}
    assert set(second["ms"]) == {"well"}
