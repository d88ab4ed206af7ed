"""The searches end, on a real server, with a result that says what ended them."""

import json
from pathlib import Path

import pytest

from loadtest.sizing.command import main as size
from serving.server.server import Server
from tests.support.loads import ended, golden_of, start

SHORT = ("--warmup", "0s", "--duration")


def test_capacity_and_profile_end_and_leave_their_files_and_a_fleet_is_sized_by_them(
    triton: Server,
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = golden_of(artifacts, tmp_path, "cnn")
    search = start(
        triton, own, "capacity", "cnn", "--promise", "p50<2000ms", "--start", "50", "--most", "100", *SHORT, "1s"
    )
    flags = ("--start", "30", "--most", "120", "--factor", "2", "--protocol", "grpc", *SHORT, "1s")
    curve = start(triton, own, "profile", "cnn", *flags)
    code, text = ended(search)
    found = json.loads((own / "report" / "load-capacity" / "cnn.json").read_text())
    if found["limited_by_generator"]:  # on a machine that is busy with other things
        assert code == 2, text
    else:
        assert (code, found["kept_per_s"], found["not_kept_per_s"]) == (0, 100, None), text
    code, text = ended(curve)
    assert code == 0, text
    folder = own / "report" / "load-profile"
    points = json.loads((folder / "cnn.json").read_text())["points"]
    rates = [point["rate"] for point in points]
    assert rates == [30, 60, 120][: len(rates)]
    assert (folder / "cnn.svg").read_text().startswith("<svg")
    monkeypatch.setenv("CONCH_ARTIFACTS", str(own))
    code = size(["cnn", "--promise", "p99=2000ms", "--rate", "480", "--survive", "nothing"])
    if len(rates) < 3:  # a machine as busy as that
        assert code == 3
        assert "at least 3 are needed" in capsys.readouterr().err
        return
    assert code == 0, capsys.readouterr().err
    (kind,) = json.loads((own / "report" / "size" / "cnn.json").read_text())["kinds"]
    assert kind["servers"] >= 480 / 120, "none is given more than was measured"
