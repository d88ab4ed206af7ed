"""A load test of a model with states counts for the golden sequences that it was compared with."""

import json
from pathlib import Path
from typing import Any

import pytest

from conch.contracts.golden import sequences_sha256
from conch.report.evidence import gather

GOLDEN = {"counter": "a" * 64, "whole": "b" * 64}


def part(model: str, answers_of: str | None) -> dict[str, Any]:
    return {"model": model} | ({"stream": {"length": 4, "answers_of": answers_of}} if answers_of else {})


@pytest.mark.parametrize(
    ("parts", "golden", "counts"),
    [
        ([part("counter", "counter")], GOLDEN["counter"], True),
        ([part("counter", "counter")], "c" * 64, False),
        ([part("counter", "whole")], sequences_sha256(GOLDEN["counter"], GOLDEN["whole"]), True),
        ([part("counter", "whole")], GOLDEN["counter"], False),
        ([part("counter", "gone")], GOLDEN["counter"], False),
        ([part("counter", "counter"), part("whole", None)], GOLDEN["counter"], False),
        ([part("other", "counter")], GOLDEN["counter"], False),
    ],
)
def test_which_scenario_is_a_load_test_of_the_model(
    parts: list[dict[str, Any]], golden: str, counts: bool, tmp_path: Path
) -> None:
    for name, sha256 in GOLDEN.items():
        version = tmp_path / "models" / name / "1"
        version.mkdir(parents=True)
        states: dict[str, Any] = {"states": []} if name == "counter" else {}
        (version / "manifest.json").write_text(json.dumps({"sha256": {"golden": sha256}} | states))
        (version / "model.onnx").write_bytes(b"")
    folder = tmp_path / "report" / "load-mix" / "counter"
    folder.mkdir(parents=True)
    run = {"verdict": "KEPT", "golden_sha256": golden, "scenario": {"parts": parts}}
    (folder / "run.json").write_text(json.dumps(run))
    (counter, _) = gather(tmp_path)
    assert (counter.load is not None) == counts
