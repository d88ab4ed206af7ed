import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadtest.compare import Compare, compare, compare_parts, read_run
from loadtest.errors import CannotRun
from loadtest.golden import Golden
from loadtest.recorder import Recorder
from loadtest.streams import Arrival

GOLDEN = Golden("cnn", "1", {}, {}, {}, "")


def run(factor: float, seed: int, seconds: int = 20, **changes: Any) -> dict[str, Any]:
    """A run of 100 requests a second whose latencies are log-normal times `factor`; seconds differ."""
    draw, recorder = random.Random(seed), Recorder()
    for second in range(seconds):
        mood = draw.lognormvariate(0, 0.1)
        for place in range(100):
            latency = factor * mood * draw.lognormvariate(0, 0.3)
            recorder("http", latency, None, arrival=Arrival(0.0, GOLDEN, [0], True, offset=second + place / 100))
    series = [{"response": sorted(entry.response.items())} for _, entry in sorted(recorder.seconds.items())]
    same = {"verdict": "KEPT", "model": "cnn", "golden_sha256": "g", "scenario_sha256": "s"}
    return same | changes | recorder.total().summary(seconds) | {"series": series}


def says(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [entry.says for entry in compare(a, b)]


def test_slower_faster_and_no_difference_are_told_apart() -> None:
    assert says(run(1.0, 1), run(1.5, 2)) == ["slower"] * 3
    assert says(run(1.5, 1), run(1.0, 2)) == ["faster"] * 3
    assert says(run(1.0, 1), run(1.0, 2)) == ["no difference shown"] * 3


@pytest.mark.slow
def test_equal_servers_are_seldom_told_apart() -> None:
    """A nominal 5 % and a little: seconds are few."""
    wrong = sum(compare(run(1.0, 2 * n), run(1.0, 2 * n + 1))[0].says != "no difference shown" for n in range(8))
    assert wrong <= 3


def test_too_few_requests_or_seconds_say_nothing() -> None:
    assert says(run(1.0, 1, seconds=3), run(9.0, 2, seconds=3)) == ["n too small"] * 3


def write(path: Path, content: dict[str, Any]) -> Path:
    path.mkdir()
    (path / "run.json").write_text(json.dumps(content))
    return path


def test_a_regression_beyond_the_tolerance_is_exit_code_one(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", run(1.0, 1)), write(tmp_path / "b", run(1.5, 2))
    assert Compare(a=a, b=b).run(Console(quiet=True)) == 1
    assert Compare(a=a, b=b, tolerance=1.0).run(Console(quiet=True)) == 0
    assert Compare(a=b, b=a).run(Console(quiet=True)) == 0


def test_a_comparison_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a", run(1.0, 1)), write(tmp_path / "b", run(1.5, 2))
    assert Compare(a=a, b=b, json=True).run(Console(quiet=True)) == 1
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"differences", "tolerance", "regressed"}
    assert said["regressed"] == ["p50", "p95", "p99"]
    assert set(said["differences"][0]) == {"name", "a", "b", "change", "low", "high", "says"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "lstm"}, "differ in model"),
        ({"golden_sha256": "x"}, "differ in inputs"),
        ({"scenario_sha256": "x"}, "differ in scenario"),
        ({"verdict": "INVALID"}, "INVALID run"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    a, b = write(tmp_path / "a", run(1.0, 1)), write(tmp_path / "b", run(1.0, 2, **changes))
    with pytest.raises(CannotRun, match=words):
        Compare(a=a, b=b).run(Console(quiet=True))
    if "differ" in words:
        assert Compare(a=a, b=b, differing=True).run(Console(quiet=True)) == 0


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"model": "cnn"}')
    with pytest.raises(CannotRun, match="is no result of"):
        read_run(tmp_path)
    with pytest.raises(CannotRun, match="cannot read"):
        read_run(tmp_path / "none")


def test_models_of_a_scenario_are_compared_each() -> None:
    def parts(cnn: float, lstm: float, seed: int) -> dict[str, Any]:
        named = [run(cnn, seed, model="cnn"), run(lstm, seed + 1, model="lstm")]
        return {"parts": [part | {"protocol": "grpc"} for part in named]}

    found = compare_parts(parts(1.0, 1.0, 1), parts(1.0, 1.5, 3))
    assert {entry.name: entry.says for entry in found if "p50" in entry.name} == {
        "cnn grpc p50": "no difference shown",
        "lstm grpc p50": "slower",
    }
