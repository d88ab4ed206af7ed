"""conch export explain: what is right, the node that is not, and what cannot be explained."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import export.__main__
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe


@pytest.fixture
def recipe(tmp_path: Path, artifacts: Path) -> str:
    path = write_line_recipe(tmp_path)
    train_recipe(path)
    return str(path)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["export", *words])
    return export.__main__.main()


def change_weight(file: Path) -> None:
    model = onnx.load(file)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("weight"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.5), weight.name))
    onnx.save(model, file)


@pytest.mark.slow
def test_a_published_version_is_explained_and_so_is_the_node_that_was_changed(
    recipe: str, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "explain", recipe) == 1
    assert "nothing is published" in capfd.readouterr().err
    assert run(monkeypatch, recipe, "--triton", "24.04") == 0
    assert onnx.load(artifacts / "models" / "line" / "1" / "model.onnx").ir_version == 9
    assert run(monkeypatch, "explain", recipe) == 0
    assert "as exact as PyTorch" in capfd.readouterr().out
    change_weight(artifacts / "models" / "line" / "1" / "model.onnx")
    assert run(monkeypatch, "explain", recipe) == 1
    shown = " ".join(capfd.readouterr().out.split())
    assert "wrong" in shown
    assert "first departs at" in shown
    assert "weight' differs from the module's by 0.5: the file was changed" in shown


def test_a_new_conversion_is_explained_and_not_published(
    recipe: str, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "explain", recipe, "--exporter", "torchscript") == 0
    assert "a new conversion by the torchscript exporter" in capfd.readouterr().out
    assert not (artifacts / "models").exists()


def test_an_unknown_release_is_one_line(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, recipe, "--triton", "23.01") == 1
    shown = capfd.readouterr().err.strip()
    assert shown.startswith("error: --triton 23.01: unknown release; known are 24.04")
    assert "\n" not in shown


@pytest.mark.slow
def test_a_module_that_only_one_exporter_takes_falls_back_and_says_why(
    tmp_path: Path, recipe: str, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    branching = (
        "@dataclass(frozen=True)\nclass Line",
        "class Branching(nn.Module):\n"
        "    def __init__(self, network):\n        super().__init__()\n        self.network = network\n"
        "    def forward(self, x):\n"
        "        return self.network(x) if float(x.abs().max()) < 1e6 else x\n\n\n"
        "@dataclass(frozen=True)\nclass Line",
    )
    serving = ("module=trained.network.eval()", "module=Branching(trained.network).eval()")
    write_line_recipe(tmp_path, serving, branching)
    assert run(monkeypatch, recipe) == 0
    shown = " ".join(capfd.readouterr().out.split())
    assert "line: dynamo was passed over: line: the dynamo exporter failed" in shown
    manifest = (artifacts / "models" / "line" / "1" / "manifest.json").read_text()
    assert '"exporter": "torchscript"' in manifest
    assert "the dynamo exporter failed" in manifest
