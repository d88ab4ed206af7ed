"""The searches end, on a real server, with a result that says what ended them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from serving.server import Server

ROOT = Path(__file__).parents[2]


def load(server: Server, own: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    environment = os.environ | {"CONCH_ARTIFACTS": str(own)} | addresses
    command = [sys.executable, "-m", "tests.load", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def own_artifacts(artifacts: Path, folder: Path) -> Path:
    """An artifacts folder of the test's own with the served models."""
    (folder / "models").symlink_to(artifacts / "models")
    return folder


def test_capacity_ends_at_the_highest_rate_or_at_the_generator(triton: Server, artifacts: Path, tmp_path: Path) -> None:
    own = own_artifacts(artifacts, tmp_path)
    flags = ("--promise", "p50<2000ms", "--start", "50", "--most", "100", "--duration", "1s")
    ended = load(triton, own, "capacity", "cnn", *flags)
    result = json.loads((own / "report" / "load-capacity" / "cnn.json").read_text())
    if result["limited_by_generator"]:  # on a machine that is busy with other things
        assert ended.returncode == 2, ended.stderr
    else:
        assert (ended.returncode, result["kept_per_s"], result["not_kept_per_s"]) == (0, 100, None), ended.stderr
    impossible = load(triton, own, "capacity", "cnn", "--promise", "p50<fast")
    assert impossible.returncode == 3
    assert "expected p50, p95 or p99 and a limit" in impossible.stderr


def test_profile_and_soak_leave_their_files(triton: Server, artifacts: Path, tmp_path: Path) -> None:
    own = own_artifacts(artifacts, tmp_path)
    flags = ("--start", "30", "--most", "60", "--factor", "2", "--duration", "1s", "--protocol", "grpc")
    ended = load(triton, own, "profile", "cnn", *flags)
    assert ended.returncode == 0, ended.stderr
    folder = own / "report" / "load-profile"
    points = json.loads((folder / "cnn.json").read_text())["points"]
    assert [point["rate"] for point in points] in ([30, 60], [30])
    assert (folder / "cnn.svg").read_text().startswith("<svg")
    short = load(triton, own, "soak", "cnn", "--duration", "2s")
    assert short.returncode == 2, short.stderr
    assert "no memory to be seen" in short.stdout
