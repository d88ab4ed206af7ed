"""The searches end, on a real server, with a result that says what ended them."""

import json
from pathlib import Path

from serving.server.server import Server
from tests.support.loads import ended, golden_of, start

SHORT = ("--warmup", "0s", "--duration")


def test_capacity_and_profile_end_and_leave_their_files(triton: Server, artifacts: Path, tmp_path: Path) -> None:
    own = golden_of(artifacts, tmp_path, "cnn")
    search = start(
        triton, own, "capacity", "cnn", "--promise", "p50<2000ms", "--start", "50", "--most", "100", *SHORT, "1s"
    )
    flags = ("--start", "30", "--most", "60", "--factor", "2", "--protocol", "grpc", *SHORT, "1s")
    curve = start(triton, own, "profile", "cnn", *flags)
    code, text = ended(search)
    found = json.loads((own / "report" / "load-capacity" / "cnn.json").read_text())
    if found["limited_by_generator"]:  # on a machine that is busy with other things
        assert code == 2, text
    else:  # there, too, a second of a hundred requests may break the promise: then the search has closed in on it
        kept, broken = found["kept_per_s"], found["not_kept_per_s"]
        assert code == 0, text
        assert (kept, broken) == (100, None) or 50 <= kept < broken <= 100, text
    code, text = ended(curve)
    assert code == 0, text
    folder = own / "report" / "load-profile"
    points = json.loads((folder / "cnn.json").read_text())["points"]
    assert [point["rate"] for point in points] in ([30, 60], [30])
    assert (folder / "cnn.svg").read_text().startswith("<svg")
