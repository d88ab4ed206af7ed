"""The commands of docs/scale.md, as they are written, with the profile of a server that is known."""

import json
import re
import shlex
from pathlib import Path

import pytest

from loadtest.sizing.command import main
from tests.support.measured_curves import known_server, profile_of, write_profile

PAGE = (Path(__file__).parents[4] / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path))
    (kinds,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "kinds.yaml").write_text(kinds)
    known = profile_of(known_server(), model="cnn")
    for place in ("report/load-profile", "two-cores", "one-gpu"):
        write_profile(tmp_path / place / "cnn.json", known)
    commands = re.findall(r"conch size cnn [^`\n]*", PAGE)
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)[2:]) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "report" / "size" / "cnn.json").read_text())
    assert found["cheapest"] == "two-cores", "the same curve at a ninth of the price"
    assert (tmp_path / "report" / "size" / "cnn.svg").exists(), "the picture that the page speaks of"
