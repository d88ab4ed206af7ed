"""The page shows the error budget of each output, and why a tolerance is the recipe's own."""

from pathlib import Path

import pytest

from conch.report.evidence import gather
from conch.report.page import render_page
from export.publication.pipeline import export_checkpoint
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe


@pytest.mark.slow
def test_verdict_reference_and_reason_are_on_the_page(tmp_path: Path, artifacts: Path) -> None:
    path = write_line_recipe(
        tmp_path,
        ("import Metric, Recipe, Served, Tensor", "import Metric, Recipe, Served, Tensor, Tolerance"),
        ("examples={", 'tolerance={"float32": Tolerance(1e-3, 0, "a ruler has 1 mm marks")}, examples={'),
    )
    export_checkpoint(train_recipe(path))
    (model,) = gather(artifacts)
    assert model.published["tolerance"]["float32"] == [1e-3, 0]
    page = render_page([model], artifacts)
    assert "Error budget" in page
    assert "as exact as PyTorch</td>" in page
    assert "the same module in float64" in page
    assert "a ruler has 1 mm marks" in page
    assert "as exported)" in page
