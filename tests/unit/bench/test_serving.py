"""The pure parts of `make bench-serving`: what wrk says is read, and floors are judged, by hand-made figures."""

import json
from pathlib import Path

import pytest

from tests.bench.serving import wrk
from tests.bench.serving.contenders import CONCH, CONTENDERS, FASTAPI_2, PYTRITON
from tests.bench.serving.floors import floor_checks
from tests.bench.serving.measure import IN_PROCESS, Measured
from tests.bench.serving.report import report, write_plot
from tests.bench.serving.wrk import BenchError, InvalidRound, Sample, parse

GOOD = {"requests": 5000, "microseconds": 2_000_000, "p50": 380, "p99": 1250} | dict.fromkeys(wrk.ERRORS, 0)


def said(**changes: int) -> str:
    return f"Running 2s test @ http://127.0.0.1:1/cnn\n  2 threads\n{json.dumps(GOOD | changes)}\n"


def measured(rates: dict[tuple[str, str, int], float], rounds: int = 5) -> Measured:
    """The median of each cell is its rate, whatever the two extremes are."""
    result = Measured(rounds=rounds)
    for cell, rate in rates.items():
        for factor in (0.1, 1.0, 1.0, 1.0, 50.0)[:rounds]:
            result.add(cell, Sample(rate * factor, 1.0, 3.0))
    return result


RATES = {
    (CONCH, "cnn", 16): 8000.0, (CONCH, "cnn", 64): 12999.0, (CONCH, "resnet", 64): 2400.0,
    (PYTRITON, "cnn", 16): 2000.0, (FASTAPI_2, "cnn", 16): 8001.0, (FASTAPI_2, "cnn", 64): 10000.0,
    (IN_PROCESS, "resnet", 0): 3000.0,
}  # fmt: skip


def test_wrk_is_read() -> None:
    assert parse(said()) == Sample(requests_per_s=2500.0, p50_ms=0.38, p99_ms=1.25)


@pytest.mark.parametrize("error", wrk.ERRORS)
def test_any_error_makes_a_round_invalid(error: str) -> None:
    with pytest.raises(InvalidRound, match=f"{error} 1"):
        parse(said(**{error: 1}))


@pytest.mark.parametrize(("output", "code"), [("unable to connect to 127.0.0.1:1 Connection refused", 1), ("", 0)])
def test_no_result_makes_a_round_invalid(output: str, code: int) -> None:
    with pytest.raises(InvalidRound, match=f"wrk ended with {code}"):
        parse(output, code)


def test_no_answer_makes_a_round_invalid() -> None:
    with pytest.raises(InvalidRound, match="no request"):
        parse(said(requests=0))


def test_a_missing_wrk_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BenchError, match="apt-get install wrk"):
        wrk.find_wrk()


def test_floors_are_judged_by_medians() -> None:
    found = {(v.floor.model, v.floor.connections, v.floor.peer): v for v in floor_checks(measured(RATES))}
    assert found["cnn", 16, PYTRITON].met  # 4.0 times, exactly
    assert not found["cnn", 16, FASTAPI_2].met  # 0.9999
    assert not found["cnn", 64, FASTAPI_2].met  # 1.2999
    assert found["resnet", 64, IN_PROCESS].met  # 0.80
    assert found["resnet", 64, IN_PROCESS].factor == pytest.approx(0.8)


def test_too_few_rounds_meet_no_floor() -> None:
    assert not any(verdict.met for verdict in floor_checks(measured(RATES, rounds=4)))
    absent = {cell: rate for cell, rate in RATES.items() if cell[0] != PYTRITON}
    assert next(v for v in floor_checks(measured(absent)) if v.floor.peer == PYTRITON).factor is None


def test_the_report_names_every_contender_and_what_was_left_out(tmp_path: Path) -> None:
    result = measured(RATES)
    result.invalid.append("round 2, BentoML: status 503")
    text = report(result, floor_checks(result), ["cnn", "resnet"], [16, 64], 0.1)
    for name in CONTENDERS:
        assert f"| {name} |" in text
    assert "**8,001** (3.0)" in text
    assert "in process: 3,000 images/s" in text
    assert "2 of 4 met" in text
    assert "* round 2, BentoML: status 503" in text
    write_plot(result, ["cnn", "resnet"], [16, 64], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
