"""Bad input ends with one line on stderr, an exit code other than 0, and no traceback."""

import re
from pathlib import Path

import pytest

import export.__main__
import training.__main__
from conch.contracts.errors import ConchError
from tests.support.recipes import write_line_recipe
from training.recipes.cnn import CNN

MAINS = {"training": training.__main__.main, "export": export.__main__.main}


def run(monkeypatch: pytest.MonkeyPatch, package: str, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", [package, *arguments])
    return MAINS[package]()


@pytest.mark.parametrize(
    ("package", "arguments", "message"),
    [
        ("training", ["nosuch"], "no recipe 'nosuch'; known are autoencoder, cnn, gan, lstm, resnet"),
        ("training", ["nosuch.py"], "no recipe file nosuch.py"),
        ("training", ["cnn", "--data", "nosuch"], "--data nosuch: no such image data set; known are digits"),
        ("training", ["lstm", "--data", "nosuch"], "--data nosuch: no such text data set; known are manual"),
        ("training", ["resnet", "--depth", "21"], "--depth 21"),
        ("training", ["gan"], "make it with: conch train cnn"),
        ("export", ["nosuch"], "no recipe 'nosuch'"),
        ("export", ["cnn"], "no checkpoint in .*cnn; make it with: conch train cnn"),
    ],
)
def test_bad_input_is_one_line(
    package: str, arguments: list[str], message: str,
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(monkeypatch, package, *arguments) == 1
    shown = capfd.readouterr().err.strip()
    assert re.search(message, shown)
    assert shown.count("\n") == 0
    assert "Traceback" not in shown


def test_an_unreadable_artifacts_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path / "file"))
    assert run(monkeypatch, "training", str(write_line_recipe(tmp_path))) == 1
    assert "cannot write to" in capfd.readouterr().err


@pytest.mark.slow
def test_from_training_to_export_by_command(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = str(write_line_recipe(tmp_path))
    assert run(monkeypatch, "training", recipe, "--seed", "3") == 0
    assert run(monkeypatch, "training", recipe, "--seed", "3", "--if-changed") == 0
    assert "line: up to date" in capfd.readouterr().out
    assert run(monkeypatch, "export", recipe) == 0
    assert "15 cells of parity passed" in capfd.readouterr().out.replace("\n", " ")
    assert run(monkeypatch, "export", recipe, "--if-changed") == 0
    assert "line: up to date" in capfd.readouterr().out


@pytest.mark.slow
def test_a_failed_proof_exits_with_1_and_a_table_that_names_the_cell(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = str(write_line_recipe(tmp_path))
    assert run(monkeypatch, "training", recipe) == 0
    mixing = ("module=trained.network.eval()", "module=Mixing(trained.network).eval()")
    module = (
        "@dataclass(frozen=True)\nclass Line",
        "class Mixing(nn.Module):\n"
        "    def __init__(self, network):\n        super().__init__()\n        self.network = network\n"
        "    def forward(self, x):\n        return self.network(x) - x.mean()\n\n\n"
        "@dataclass(frozen=True)\nclass Line",
    )
    write_line_recipe(tmp_path, mixing, module)
    assert run(monkeypatch, "export", recipe) == 1
    shown = capfd.readouterr()
    assert "cells failed" in shown.out
    assert "nothing was published" in shown.err
    assert not (artifacts / "models").exists()


@pytest.mark.parametrize(("flags", "epochs"), [((), "15"), (("--epochs", "7"), "7")])
def test_the_data_set_decides_defaults_and_a_flag_overrides_them(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], epochs: str
) -> None:
    seen = []

    def take(recipe: CNN) -> None:
        seen.append(recipe)
        raise ConchError("no data")

    monkeypatch.setattr(CNN, "dataset", take)
    assert run(monkeypatch, "training", "cnn", *flags, "--data=mnist") == 1
    assert [(recipe.data, str(recipe.epochs), recipe.batch_size) for recipe in seen] == [("mnist", epochs, 256)]
