"""The one command: it is quick, imports no stage before its verb is used, and finds its own packages."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch import PROJECT, command_line
from conch.__main__ import VERBS, main
from conch.contracts.errors import ConchError
from tests.support.forked_commands import ForkedCommands


def test_help_imports_no_stage() -> None:
    program = (
        "import sys; from conch.__main__ import main; code = main(['--help']); "
        "sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert all(f"conch {verb}" in ended.stdout or f"| {verb}" in ended.stdout for verb in VERBS)
    heavy = {"training", "export", "serving", "clients", "loadtest", "torch", "numpy", "tyro", "rich"}
    assert heavy.isdisjoint(ended.stderr.split())


@pytest.fixture(scope="module")
def commands() -> Iterator[ForkedCommands]:
    """`conch` in processes of their own, for the load test patches sockets and threads for gevent."""
    with contextlib.closing(
        ForkedCommands("conch.__main__", "conch.command_line", "tyro", "numpy", "onnx", "onnxruntime")
    ) as forked:
        yield forked


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_its_name(commands: ForkedCommands, verb: str) -> None:
    ended = commands.run("conch.__main__", verb, "--help")
    assert ended.returncode == 0, ended.stderr
    assert f"conch {verb}" in ended.stdout


@pytest.mark.parametrize(
    ("module", "unused"),
    [("conch.command_line", {"numpy", "clients.client"}), ("loadtest.__main__", {"scipy", "matplotlib", "torch"})],
)
def test_what_every_command_waits_for_is_little(module: str, unused: set[str]) -> None:
    program = f"import sys, {module}; sys.stdout.write(' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert unused.isdisjoint(ended.stdout.split())


def test_a_wrong_verb_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exprot", "cnn"]) == 2
    shown = capsys.readouterr().err
    assert "did you mean export?" in shown
    assert shown.count("\n") == 1
    assert main(["nothing-like-it"]) == 2
    assert capsys.readouterr().err.startswith("error: no verb 'nothing-like-it'; there are train, export")


def test_a_project_with_a_training_folder_of_its_own_uses_the_kit_and_keeps_its_own(tmp_path: Path) -> None:
    """Neither gets the other's: not the kit the project's, by either way of calling it; nor the project the kit's."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("OWN = True\n")
    environment = os.environ | {"PYTHONPATH": "", "COLUMNS": "200"}
    for command in (["-m", "conch", "train", "--help"], command_line.program("conch", "train", "--help")[1:]):
        ended = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        assert "conch train resnet" in ended.stdout
    own = subprocess.run(
        [sys.executable, "-c", "import training; print(training.OWN)"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert own.stdout == "True\n", own.stderr


def test_errors_end_in_one_place(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> int:
        raise ConchError("no [model] of that name")

    def interrupt() -> int:
        raise KeyboardInterrupt

    assert command_line.run(refuse, failed=3) == 3
    assert capsys.readouterr().err == "error: no [model] of that name\n"
    assert command_line.run(interrupt) == 130
    assert command_line.run(lambda: 0) == 0


MISSING = """
import sys
sys.modules[sys.argv[1]] = None  # as where it is not installed
from conch.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("missing", "words", "extra"), [("torch", ["train", "cnn"], "cpu"), ("nicegui", ["page"], "page")]
)
def test_what_the_kit_needs_and_lacks_is_one_line(missing: str, words: list[str], extra: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", MISSING, missing, *words], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert f"conch {words[0]} needs {missing}, which is not installed: pip install 'conch[{extra}]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_a_recipe_needs_and_lacks_is_the_recipes_to_tell(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text("import nobody_has_this\n")
    ended = subprocess.run(
        [sys.executable, "-m", "conch", "train", str(recipe)], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "mine.py does not run: ModuleNotFoundError: No module named 'nobody_has_this'" in ended.stderr
