"""The commands of docs/onnx-files.md do what it says: run as written, in its order."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from serving.commands.publish import main as publish

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "onnx-files.md").read_text()


def test_its_commands_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path / "artifacts"))
    (script,) = re.findall(r"```python\n(# files\.py\n.*?)```", PAGE, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "files.py").write_text(script)
    first, *others = commands.splitlines()
    assert first == "python files.py"
    runpy.run_path("files.py")
    for command in others:
        assert command.startswith("conch publish ")
        assert publish(shlex.split(command)[2:]) == 0, command
    said = capsys.readouterr().out
    for told in ("ZipMap removed", "input 'sr' fixed to 16000", "output 'y': the batch moved from axis 1 to the front"):
        assert told in said
    assert "served without batches" not in said


def test_its_table_has_every_flag() -> None:
    for flag in ("--batch-axis", "--fix", "--state", "--initial-state", "--control", "--max-batch"):
        assert re.search(rf"^\|.*`?{flag}", PAGE, re.MULTILINE), flag
