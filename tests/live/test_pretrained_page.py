"""The commands and scripts of docs/pretrained.md do what it says, on small folders of the names that it has."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.pretrained.pictures import photographs
from export.pretrained.sounds import made_sounds
from tests.support.page_commands import ROOT, bash, blocks, serving
from tests.support.pretrained_folders import CLASSIFIERS, HEARERS, OTHERS, REWRITERS, WRITERS, make
from tests.unit.clients.test_sounds import written

PAGE = (ROOT / "docs" / "pretrained.md").read_text(encoding="utf-8")
FOLDERS = {
    "distilbert-sst2": CLASSIFIERS["distilbert"], "resnet-50": OTHERS["resnet"],
    "wav2vec2-keywords": HEARERS["wav2vec2"], "gpt2": WRITERS["gpt2-writer"],
    "t5-small": REWRITERS["t5-rewriter"],
}  # fmt: skip
COMMANDS = [line.split("  #")[0].strip() for block in blocks(PAGE, "sh") for line in block.splitlines()]
EXPORTS, CALLS = ([line for line in COMMANDS if line.startswith(f"conch {verb} ")] for verb in ("export", "call"))
OF_TEXTS = re.compile(r"distilbert|gpt2|t5")
QUICKER = " --max-batch 2 --exporter torchscript"

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one who has downloaded models, all of them exported as the page says, and something to send."""
    folder = tmp_path_factory.mktemp("pretrained")
    for name, made in FOLDERS.items():
        make(folder / name, made)
    (folder / "texts.txt").write_text("Good.\nWhat a long and tedious afternoon\nno no no\nAnd yes?")
    for name in ("cat.jpg", "cat.png"):
        photographs()[0].save(folder / name)
    (folder / "yes.wav").write_bytes(written(2, sound=made_sounds(16000, 1.0)[0]).getvalue())
    for command in EXPORTS:
        bash(command + QUICKER + " --texts texts.txt" * bool(OF_TEXTS.search(command)), folder)
    return folder


@pytest.fixture(scope="module")
def addresses(workshop: Path) -> Iterator[dict[str, str]]:
    with serving(workshop) as found:
        yield found


def test_each_command_is_one_of_these() -> None:
    known = (*EXPORTS, *CALLS, "conch serve")
    assert [line for line in COMMANDS if line not in known and not line.startswith("pip install ")] == []
    assert len(EXPORTS) == 6


@pytest.mark.parametrize("command", CALLS)
def test_a_call_is_answered(command: str, workshop: Path, addresses: dict[str, str]) -> None:
    said = bash(command, workshop, addresses)
    wanted = {"classify": "so so", "infer": "probabilities", "generate-text": "\n"}
    assert wanted[command.split()[2]] in said


@pytest.mark.parametrize("place", range(len(blocks(PAGE, "python"))))
def test_a_script_runs(place: int, workshop: Path, addresses: dict[str, str]) -> None:
    """Against a server that is not at the default address, with the tokens of a small vocabulary."""
    script = blocks(PAGE, "python")[place]
    for there, here in (
        ("connect()", f"connect({addresses['CONCH_HTTP']!r})"), ("[464, 3290]", "[46, 32]"),  # a vocabulary of 400
    ):  # fmt: skip
        script = script.replace(there, here)
    (workshop / "script.py").write_text(script)
    said = bash(f"{sys.executable} script.py", workshop, {**addresses, "PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    assert said.startswith("[[") or "print" not in script
