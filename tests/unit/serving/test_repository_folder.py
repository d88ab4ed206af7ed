"""A folder of another level than a model repository is told with the right path, by each command that takes one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conch.__main__ import main
from serving.repository.folder import check_level, check_repository
from tests.support import graphs

MODEL_FILE = "models/cnn/1/model.onnx"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a repository of one model in `models`."""
    for file in (MODEL_FILE, "models/cnn/config.pbtxt", "models/cnn/warmup/1/x", "notes/readme.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG = [
    ("models/cnn", "one level too deep", "models"),
    ("./models/cnn/", "one level too deep", "models"),
    ("models/cnn/1", "two levels too deep", "models"),
    (".", "one level too high", "models"),
]


@pytest.mark.parametrize(("given", "words", "right"), WRONG)
def test_the_right_path_is_said(given: str, words: str, right: str) -> None:
    with pytest.raises(Exception, match=rf"{words}.*: --repository {right}$"):
        check_repository(Path(given))


def test_it_is_said_from_inside_a_model_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for inside in ("models/cnn", "models/cnn/1"):
        monkeypatch.chdir(home / inside)
        with pytest.raises(Exception, match=rf"too deep.*: --repository {home / 'models'}$"):
            check_repository(Path())


@pytest.mark.parametrize("more", ["", "models/config.pbtxt", "models/7/config.pbtxt", "models/broken/one/model.onnx"])
def test_a_repository_is_none_of_them(more: str) -> None:
    if more:
        Path(more).parent.mkdir(parents=True, exist_ok=True)
        Path(more).touch()
    assert "cnn" in check_repository(Path("models"))


def test_a_model_without_a_configuration_and_one_of_python_are_models() -> None:
    Path("models/cnn/config.pbtxt").unlink()
    with pytest.raises(Exception, match="one level too deep"):
        check_level(Path("models/cnn"))
    Path(MODEL_FILE).rename("models/cnn/1/model.py")
    with pytest.raises(Exception, match="one level too deep"):
        check_level(Path("models/cnn"))


def test_a_file_is_none() -> None:
    with pytest.raises(Exception, match=r"^notes/readme\.txt is a file, a model repository is a folder$"):
        check_repository(Path("notes/readme.txt"))


def test_what_is_not_there_or_empty_may_become_one() -> None:
    Path("empty").mkdir()
    for folder in ("empty", "new", "notes"):
        check_level(Path(folder))


def publish(given: str) -> list[str]:
    """Into a repository that is none, nothing is published either."""
    return ["publish", str(graphs.write(graphs.AFFINE, Path("affine.onnx"))), "--name", "affine", "--repository", given]


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "serve": lambda given: ["serve", "--repository", given],
    "lint": lambda given: ["lint", "--repository", given],
    "tune": lambda given: ["tune", "cnn", "--repository", given],
    "publish": publish,
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_each_command_says_it_before_it_does_anything(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = COMMANDS[verb]("models/cnn")
    before = sorted(os.walk("models"))
    assert main(words) == 1
    said = "models/cnn is one level too deep for a model repository, it is the folder of a model: --repository models"
    assert capsys.readouterr().err.splitlines() == [f"error: {said}"]
    assert sorted(os.walk("models")) == before
