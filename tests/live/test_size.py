"""`conch size` on the profile of a real server: what `conch load profile` writes is what it reads."""

import json
from pathlib import Path

import pytest

from loadtest.sizing.command import main as size
from serving.server.server import Server
from tests.support.deployment import workplace
from tests.support.loads import ended, start


def test_a_fleet_is_sized_by_the_profile_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts = workplace(tmp_path)
    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts))
    flags = ("--start", "30", "--most", "120", "--factor", "2", "--warmup", "0s", "--duration", "1s")
    with Server(artifacts / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        code, text = ended(start(server, artifacts, "profile", "affine", *flags))
    assert code == 0, text
    points = json.loads((artifacts / "report" / "load-profile" / "affine.json").read_text())["points"]
    code = size(["affine", "--promise", "p50=2000ms", "--rate", "480", "--survive", "nothing"])
    said = capsys.readouterr()
    if code == 1:  # on a machine so busy that the generator ended the curve
        assert "at least 3 are needed" in said.err
        return
    assert code == 0, said.err
    (kind,) = json.loads((artifacts / "report" / "size" / "affine.json").read_text())["kinds"]
    assert kind["servers"] >= 480 / points[-1]["rate"], "none is given more than was measured"
