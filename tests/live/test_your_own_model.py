"""The commands of docs/your-own-model.md do what it says: run as written, in its order, in a folder of a user's own."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your-own-model.md").read_text()


def blocks(language: str) -> list[str]:
    """The page's fenced code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


# Training as long as the page says shows no more.
SMALLER = {"conch train models/two_layers.py": "conch train models/two_layers.py --epochs 3 --no-floors"}
COMMANDS = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, each named in its own first line."""
    folder = tmp_path_factory.mktemp("own")
    for block in blocks("python"):
        if named := re.match(r"# (\S+\.py)\n", block):
            file = folder / named[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(block)
    return folder


def test_the_page_has_its_three_ways(workshop: Path) -> None:
    assert sorted(path.name for path in workshop.rglob("*.py")) == ["net.py", "sentences.py", "two_layers.py"]
    for way in ("conch train models/", "conch export models/", "conch export module", "conch publish", "conch serve"):
        assert any(way in command for command in COMMANDS), way


def test_its_commands_in_its_order(workshop: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"CONCH_ARTIFACTS": "artifacts", "PATH": path}
    for written in COMMANDS:
        command = written
        for full, small in SMALLER.items():
            command = command.replace(full, small)
        program, *arguments = shlex.split(command)
        words = [str(shutil.which(program, path=path)), *arguments]
        done = subprocess.run(
            words, cwd=workshop, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    models = workshop / "artifacts" / "models"
    assert sorted(path.name for path in models.iterdir()) == [
        "sentences",
        "tagger",
        "tagger_again",
        "tagger_plain",
        "two_layers",
    ]
    assert "max_batch_size: 32" in (models / "sentences" / "config.pbtxt").read_text()
