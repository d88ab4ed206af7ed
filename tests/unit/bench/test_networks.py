"""docs/networks.md says what the artifacts say, and of every network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conch.contracts.errors import ConchError
from tests.bench.networks.int8 import Int8
from tests.bench.networks.page import page
from tests.bench.networks.results import Network, Published, gather, introduction, keep, read_results
from training.catalogue import NETWORKS

ROOT = Path(__file__).parents[3]


def network(value: float = 99.5) -> Network:
    score = [{"name": "accuracy", "value": value, "unit": "%", "higher_is_better": True, "floor": 96.0}]
    model = Published("mlp", 7, 1_080_000, 2e-6, {"weights": score, "onnx": score})
    return Network("mlp", "2026-11-27T00:00:00", "digits", 269_322, 6.4, 8.0, "m", score, [model], {"1": score})


def test_a_network_s_section_has_its_figures_its_paper_and_its_spread() -> None:
    text = page([network()])
    assert (
        "| [mlp](#mlp) | classic | image -> probabilities | accuracy, % | 96 | 99.5 | 99.5 | not run | 1,080 kB |"
        in text
    )
    assert "Rumelhart" in text
    assert "conch train mlp --data mnist" in text
    assert "| accuracy, % | 96 | 99.5 | 99.5 |" in text
    assert "while other work ran on the machine (load 8)" in text


def test_the_page_says_what_int8_is_worth_and_why_it_is_not() -> None:
    fast = Int8(True, "", "entropy", 1, 4, 0.31, 1.4, 99.2)
    slow = Int8(False, "int8 passed the gate and runs 0.58 times as fast", "entropy", 0, 4, 0.31, 0.58, 99.2)
    text = page([replace(network(), int8=fast), replace(network(), name="perceptron", int8=slow)])
    assert "| mlp | entropy | 1 of 4 | 0.31 | 1.40 | accuracy, % | 99.5 | 99.2 |  |" in text
    assert "| perceptron | no | 0 of 4 | 0.31 | 0.58 | accuracy, % | 99.5 | 99.2 | int8 passed the gate and" in text
    assert "## In int8" not in page([network()])


def test_what_was_kept_is_read_again_and_what_is_missing_is_told(tmp_path: Path, artifacts: Path) -> None:
    kept = replace(network(), int8=Int8(True, "", "entropy", 1, 4, 0.31, 1.4, 99.2))
    keep(kept, tmp_path)
    assert read_results(["perceptron", "mlp"], tmp_path) == [kept]
    with pytest.raises(ConchError, match="conch train mlp"):
        gather("mlp", tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_recipe_says_what_it_is_and_whose_it_is(name: str) -> None:
    what, commands, source = introduction(name)
    assert what.endswith(".")
    assert commands[0] == f"conch train {name}"
    assert any(character.isdigit() for character in source), "a paper with its year"


def test_the_page_is_of_every_network() -> None:
    kept = {path.stem for path in (ROOT / "docs" / "networks").glob("*.json")}
    text = (ROOT / "docs" / "networks.md").read_text()
    assert kept == set(NETWORKS) == {name for name in kept if f"\n## {name}\n" in text}
    for name in kept:
        floors = json.loads((ROOT / "docs" / "networks" / f"{name}.json").read_text())["score"]
        assert all(one["floor"] is None or (one["value"] - one["floor"]) * (1 if one["higher_is_better"] else -1) >= 0
                   for one in floors), name  # fmt: skip
