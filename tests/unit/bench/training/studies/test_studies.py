"""Both studies in a form of seconds, and results that do not come out."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conch.contracts.errors import ConchError
from tests.bench.training.studies import __main__ as command
from tests.bench.training.studies import depth, initialisation
from tests.bench.training.studies.depth import PLAIN, RESIDUAL
from tests.bench.training.studies.initialisation import DEEP, DEEPER
from tests.bench.training.studies.page import section
from tests.bench.training.studies.results import read_result, result_of
from tests.bench.training.studies.study import Claim, Run, Study
from training.data.images import Images
from training.recipes.resnet import Block

pytestmark = pytest.mark.slow

TINY = initialisation.Initialisation(seeds=1, epochs=1, width=8)
TINY_DEPTH = depth.Depth(seeds=1, depths=(8, 14), images=32, side=8, epochs=1, batch_size=16)


def noise() -> Images:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (48, 16, 16, 1), dtype=np.uint8)
    return Images("noise", pixels, np.arange(48) % 3, pixels[:3], np.arange(3), tuple("abc"))


def tiny() -> dict[str, Callable[[], Study]]:
    """The studies, so small that nothing comes out."""
    return {"initialisation": lambda: initialisation.study(TINY), "depth": lambda: depth.study(noise(), TINY_DEPTH)}


def a_run(depth: int, variant: str, error: float, curve: tuple[float, ...] = (2.3,), seed: int = 0) -> Run:
    return Run(depth, variant, seed, curve, curve[-1], error, 1.0)


def textbook_initialisation() -> list[Run]:
    """Made up: as the paper has it."""
    return [
        a_run(DEEP, "2/n", 0.0, (2.0, 0.5, 0.1)),
        a_run(DEEP, "1/n", 0.3, (2.3, 2.3, 0.9)),
        a_run(DEEPER, "2/n", 0.01, (2.0, 0.5, 0.1)),
        a_run(DEEPER, "1/n", 0.9, (2.3, 2.3, 2.3)),
    ]


def textbook_depth() -> list[Run]:
    return [a_run(8, PLAIN, 0.1), a_run(56, PLAIN, 0.5), a_run(8, RESIDUAL, 0.1), a_run(56, RESIDUAL, 0.07)]


def held(claims: list[Claim]) -> list[bool]:
    return [claim.holds for claim in claims]


def test_both_studies_run_and_fail_where_nothing_comes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(command.Settings(docs=tmp_path, processes=1), tiny()) == 1
    assert "did not come out" in capsys.readouterr().out
    folder = tmp_path / "training"
    names = ["studies-depth.json", "studies-depth.png", "studies-initialisation.json", "studies-initialisation.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    page = (tmp_path / "training.md").read_text()
    assert "**did not come out**" in page
    for picture in re.findall(r"\]\((training/\S+\.png)\)", page):
        assert (tmp_path / picture).stat().st_size > 10_000
    content = json.loads((folder / "studies-depth.json").read_text())
    assert content["came_out"] is False
    assert [run["depth"] for run in content["runs"]] == [8, 8, 14, 14]
    assert content["machine"]
    assert content["date"]


def test_a_study_that_comes_out_is_exit_code_0(tmp_path: Path) -> None:
    holds = Claim("two is more than one", "2 and 1", True)
    study = replace(initialisation.study(TINY), claims=lambda runs: [holds])
    settings = command.Settings(studies=("initialisation",), docs=tmp_path, processes=1)
    assert command.run(settings, {"initialisation": lambda: study}) == 0
    page = (tmp_path / "training.md").read_text()
    assert "| two is more than one | 2 and 1 | came out |" in page
    result = read_result("initialisation", tmp_path / "training")
    assert result is not None
    assert result.claims == (holds,)
    assert section({"initialisation": result, "depth": None}).count("Not run yet") == 1


def test_the_same_task_gives_the_same_run() -> None:
    study = depth.study(noise(), TINY_DEPTH)
    first, again = (replace(study.train(study.tasks[0]), seconds=0) for _ in range(2))
    assert first == again


def test_the_claims_of_initialisation_are_computed() -> None:
    runs = textbook_initialisation()
    assert held(initialisation.claims(runs)) == [True, True, True, True]
    early, late, learnt, stuck = runs
    assert held(initialisation.claims([replace(early, curve=late.curve), late, learnt, stuck]))[0] is False
    assert held(initialisation.claims([early, replace(late, curve=(2.3, 2.3, 2.3)), learnt, stuck])) == [
        True, False, True, True,
    ]  # fmt: skip
    assert held(initialisation.claims([early, late, replace(learnt, error=0.2), stuck]))[2] is False
    # One seed that learns is enough against "not at all".
    lucky = replace(stuck, seed=1, error=0.5)
    assert held(initialisation.claims([*runs, replace(learnt, seed=1), lucky]))[3] is False


def test_the_claims_of_depth_are_computed() -> None:
    plain, deep_plain, residual, deep_residual = textbook_depth()
    assert held(depth.claims(textbook_depth())) == [True, True]
    assert held(depth.claims([plain, replace(deep_plain, error=0.1), residual, deep_residual])) == [False, True]
    assert held(depth.claims([plain, deep_plain, residual, replace(deep_residual, error=0.1)])) == [True, False]


def test_a_run_that_diverged_is_kept_as_null(tmp_path: Path) -> None:
    study = replace(depth.study(noise(), TINY_DEPTH), claims=lambda runs: [])
    result = result_of("depth", study, [a_run(8, PLAIN, 0.9, (math.nan,))], 1.0, 0.0)
    result.write(tmp_path)
    again = read_result("depth", tmp_path)
    assert again is not None
    assert math.isnan(again.runs[0].curve[0])
    assert math.isnan(again.runs[0].loss)


def test_the_plain_network_is_the_residual_one_without_its_skips() -> None:
    torch.manual_seed(0)
    residual = depth.network(8, RESIDUAL, 1, 10)
    torch.manual_seed(0)
    plain = depth.network(8, PLAIN, 1, 10)
    for ours, theirs in zip(plain.parameters(), residual.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    block = residual.blocks[0]
    assert isinstance(block, Block)
    images = torch.randn(2, 16, 6, 6)
    block.eval()
    torch.testing.assert_close(depth.PlainBlock(block)(images) + images, block(images))


@pytest.mark.parametrize(("gain", "kept"), [(2.0, 1.0), (1.0, 0.5)])
def test_weights_have_the_variance_that_they_are_named_for(gain: float, kept: float) -> None:
    """Each layer keeps the mean square of what goes through it with 2/n, and half of it with 1/n."""
    torch.manual_seed(0)
    network = initialisation.rectifier_network(6, 1000, gain, 1000)
    with torch.inference_mode():
        signal = torch.randn(200, 1000)
        squares = []
        for layer in list(network)[:-1]:
            signal = layer(signal)
            if isinstance(layer, torch.nn.ReLU):
                squares.append(float(signal.square().mean()))
    assert np.array(squares) == pytest.approx(np.array([kept**n * gain / 2 for n in range(5)]), rel=0.3)


def test_unknown_studies_and_unwritable_folders_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConchError, match="no study 'breadth'; known are initialisation, depth and all"):
        command.run(command.Settings(studies=("breadth",), docs=tmp_path), tiny())
    (tmp_path / "file").write_text("")
    with pytest.raises(ConchError, match="cannot be made"):
        command.run(command.Settings(docs=tmp_path / "file"), tiny())


@pytest.mark.parametrize("asked", ["initialisation", "depth"])
def test_a_damaged_result_is_named_before_anything_runs(tmp_path: Path, asked: str) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "studies-depth.json").write_text("{")
    with pytest.raises(
        ConchError, match=r"studies-depth\.json is damaged .* python -m tests\.bench\.training\.studies depth$"
    ):
        command.run(command.Settings(studies=(asked,), docs=tmp_path), tiny())
