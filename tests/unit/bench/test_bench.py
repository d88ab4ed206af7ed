"""`make bench` judges what was measured now, names what was not, and ends in time."""

import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench.__main__ import Bench, Found, Settings, measure, report, run
from tests.bench.verdicts import Verdict, keep, kept

PROGRAM = """
import sys
from tests.bench.verdicts import Verdict, keep
keep("own", [Verdict("a call", "at most 1 ms", "0.5 ms", {met})])
sys.exit(1)
"""


@pytest.fixture(autouse=True)
def _own(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")


def write(folder: Path, program: str) -> Bench:
    (folder / "own_bench.py").write_text(program)
    return Bench("own", ("own_bench",), 20)


@pytest.mark.parametrize(("met", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_and_the_page_say_whether_every_floor_is_met(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch, met: bool, code: int
) -> None:
    monkeypatch.setattr(bench, "BENCHES", (write(tmp_path, PROGRAM.format(met=met)),))
    assert run(Settings()) == code
    page = (artifacts / "bench" / "index.md").read_text()
    assert f"| own | a call | at most 1 ms | 0.5 ms | {'met' if met else '**missed**'} |" in page


def test_what_was_kept_of_an_earlier_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    keep("own", [Verdict("a call", "at most 1 ms", "0.5 ms", True)])
    found = measure(write(tmp_path, "import sys; sys.exit('error: no server')"), lambda: 100.0)
    assert found == Found("own", why_not="ended with 1: error: no server")
    assert kept("own") is None
    assert "| own | | | | **not measured**: ended with 1: error: no server |" in report([found], 0.0)


def test_what_takes_too_long_is_ended_and_what_would_is_not_begun(tmp_path: Path) -> None:
    slow = Bench("own", write(tmp_path, "import time; time.sleep(60)").words, 1)
    assert measure(slow, lambda: 100.0).why_not == "took longer than 1 s"
    assert measure(slow, lambda: 0.5).why_not == "takes 1 s, 0 s were left"


def test_what_it_needs_is_named(tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needing = Bench("own", ("own_bench",), 1, models=("cnn", "resnet"))
    (artifacts / "models" / "cnn").mkdir(parents=True)
    assert measure(needing, lambda: 100.0).why_not.startswith("needs resnet in ")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert measure(Bench("own", ("own_bench",), 1, wrk=True), lambda: 100.0).why_not.startswith("needs wrk")
