"""A proof that is cut says what it left out, begins with what shows most, and tells how far it is."""

import time
from pathlib import Path

import pytest

from conch.command_line import out
from conch.contracts.errors import ConchError
from export.commands.progress import paced
from export.conversion.convert import convert
from export.proof.pace import Pace, duration, parse_time
from export.proof.parity import parity_grid
from export.proof.plan import Plan, Planned
from tests.support import modules


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("2", 2), (" 0.5s ", 0.5)])
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "5 m", "5d", "1e3", "soon", "5m30s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConchError, match="it must be a number above 0 with s, m or h"):
        parse_time(text)


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0.5, 12.4, 150, 7300)] == ["0.5 s", "12 s", "2 min", "2.0 h"]


RUNS = [Planned(batch, {"time": size}, kind) for batch in (7, 2, 1) for size in (1, 17) for kind in ("random", "low")]


def test_without_a_limit_the_runs_keep_their_order() -> None:
    plan = Plan(list(RUNS), Pace(), "net")
    assert list(plan) == RUNS
    assert plan.left_out() == ()


def test_with_one_the_first_run_tells_rows_apart_and_is_always_made() -> None:
    plan = Plan(list(RUNS), Pace(limit=0.0), "net")
    assert list(plan) == [Planned(2, {"time": 1}, "random")]
    (said,) = plan.left_out()
    assert said.startswith(
        "11 of 12 runs did not fit into 0 s: 5 on random inputs (batch 1, 2, 7; time 1, 17), 6 on low"
    )


def test_runs_go_on_until_the_time_is_over() -> None:
    plan = Plan(list(RUNS), Pace(limit=0.2), "net")
    made = []
    for run in plan:
        made.append(run)
        time.sleep(0.06)
    assert 1 < len(made) < len(RUNS)
    assert [run.kind for run in made] == ["random"] * len(made)


def test_a_cut_grid_passes_by_what_was_run_and_says_so(tmp_path: Path) -> None:
    served = modules.served(modules.Affine())
    convert(served, tmp_path / "model.onnx", "torchscript")
    grid = parity_grid(served, tmp_path / "model.onnx", pace=Pace(limit=0.0))
    assert grid.passed
    assert [(cell.batch, cell.inputs) for cell in grid.cells] == [(2, "real")]
    assert "14 of 15 runs did not fit" in grid.left_out()[0]
    assert grid.as_json()["uncovered"] == list(grid.uncovered)
    assert parity_grid(served, tmp_path / "model.onnx").uncovered == ()


def test_each_run_is_told_with_what_is_left() -> None:
    told: list[str] = []
    for _ in Plan(list(RUNS), Pace(tell=told.append), "net"):
        time.sleep(0.01)
    assert told[0] == "net: run 1 of 12 (batch 7, time 1, random inputs)"
    assert all(", about 1 s left" in text for text in told[1:])


def test_what_takes_long_says_so_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.commands.progress.EVERY", 0.05)
    with paced(out(json=True), "loading") as pace:
        time.sleep(0.12)
        pace.tell("run 3 of 9")
        time.sleep(0.12)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "loading (" in shown.err
    assert "run 3 of 9 (" in shown.err
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with paced(out(json=False), "loading", "5m") as pace:
        assert pace.limit == 300
    assert capsys.readouterr() == ("", "")
