"""Short loads of the real server: promises kept, promises broken, and answers that are wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server import Server

ROOT = Path(__file__).parents[2]
GENEROUS = {"rate": 60, "p50_ms": 2000, "p95_ms": 4000, "error_rate": 0}
RUN_KEYS = {
    "model", "protocol", "url", "rate", "duration_s", "users", "started", "requests", "failures", "wrong_answers",
    "requests_per_s", "latency_ms", "by_protocol", "histogram", "promises", "kept", "golden_sha256", "versions",
    "schema", "verdict", "arrivals", "service_ms", "goodput_per_s", "series", "server", "generator", "checks",
    "scenario_sha256", "machine",
}  # fmt: skip


@pytest.fixture
def own(artifacts: Path, tmp_path: Path) -> Path:
    """An artifacts folder of the test's own, with the golden answers of what is served."""
    for model in ("cnn", "lstm"):
        version = tmp_path / "models" / model / "1"
        version.mkdir(parents=True)
        for name in ("golden.npz", "manifest.json"):
            shutil.copy(artifacts / "models" / model / "1" / name, version)
    return tmp_path


def promise(folder: Path, **changes: float) -> str:
    """A file with generous promises about two models, and these changes to the cnn's."""
    path = folder / "promises.yaml"
    path.write_text(json.dumps({"cnn": GENEROUS | changes, "lstm": GENEROUS}))
    return str(path)


def start(triton: Server, own: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CONCH_ARTIFACTS": str(own), "CONCH_HTTP": triton.http, "CONCH_GRPC": triton.grpc}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def load(triton: Server, own: Path, *arguments: str, seconds: str = "3s") -> subprocess.CompletedProcess[str]:
    return start(triton, own, "tests.load", "run", *arguments, "--duration", seconds)


def result(own: Path, model: str = "cnn") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((own / "report" / "load" / model / "run.json").read_text())
    return loaded


def test_all_models_over_both_protocols_keep_generous_promises(triton: Server, own: Path) -> None:
    ended = load(triton, own, "all", "--protocol", "both", "--promises", promise(own))
    runs = {model: result(own, model) for model in ("cnn", "lstm")}
    assert ended.returncode == (0 if all(run["kept"] for run in runs.values()) else 2), ended.stdout + ended.stderr
    for model, run in runs.items():
        assert set(run) >= RUN_KEYS
        assert all(promise["kept"] for promise in run["promises"]), ended.stdout
        # On a machine that is busy with other things the generator says so of itself, and of nothing else.
        assert {check["name"] for check in run["checks"] if not check["ok"]} <= {"late", "cpu"}, ended.stdout
        assert run["requests"] >= 0.75 * 60 * 3
        assert (run["failures"], run["wrong_answers"]) == (0, 0)
        assert sum(run["by_protocol"][protocol]["requests"] for protocol in ("http", "grpc")) == run["requests"]
        assert min(run["by_protocol"][protocol]["requests"] for protocol in ("http", "grpc")) > 0
        assert sum(count for _, count in run["histogram"]) == run["requests"]
        assert 0 < run["latency_ms"]["p50"] <= run["latency_ms"]["p95"] <= run["latency_ms"]["max"] * 1.001
        assert run["latency_ms"]["p99"] is None  # 180 requests are too few
        assert run["service_ms"]["mean"] <= run["latency_ms"]["mean"]
        assert sum(second["requests"] for second in run["series"]) == run["requests"]
        split = run["server"]["split"]
        # Those on their way when the server was asked may be counted on one side only, and the last of the warm-up.
        assert abs(split["requests"] - run["requests"]) < 30
        assert sum(int(size) * count for size, count in split["batches"].items()) == split["items"]
        assert split["executions"] == sum(split["batches"].values())
        assert sum(split["mean_ms"].values()) == pytest.approx(run["service_ms"]["mean"], rel=0.3)
        assert run["server"]["samples"][-1]["rss_bytes"] > 50e6
        folder = own / "report" / "load" / model
        assert "<html" in (folder / "locust.html").read_text()
        page = (folder / "index.html").read_text()
        assert run["verdict"] in page
        assert page.count("<svg") == 2
        assert 'src="http' not in page  # self-contained
        assert 'href="http' not in page
        assert "built-in method" not in page
        assert f"http,{model}," in (folder / "locust_stats.csv").read_text()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_promise_that_cannot_be_kept_is_broken(triton: Server, own: Path, protocol: str) -> None:
    ended = load(triton, own, "cnn", "--protocol", protocol, "--promises", promise(own, p99_ms=0.001))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "BROKEN cnn: p99_ms" in ended.stdout
    assert [entry["metric"] for entry in result(own)["promises"] if not entry["kept"]] == ["p99_ms"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_every_wrong_answer_is_a_failure(triton: Server, own: Path, protocol: str) -> None:
    falsify(own)
    ended = load(triton, own, "cnn", "--protocol", protocol, "--promises", promise(own), seconds="2s")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "probabilities: largest difference" in ended.stdout
    run = result(own)
    assert run["requests"] == run["wrong_answers"] == run["failures"] > 0
    assert run["kept"] is False


def test_plain_locust_fails_on_wrong_answers_and_passes_on_right_ones(triton: Server, own: Path) -> None:
    arguments = [
        "-f",
        "tests/load/locustfile.py",
        "--model",
        "cnn",
        "--rate",
        "60",
        "--headless",
        "-t",
        "3s",
        "--promises",
        promise(own),
    ]
    right = start(triton, own, "locust", *arguments)
    assert right.returncode in (0, 2), right.stderr  # 2 where a busy machine made the generator late
    assert "BROKEN" not in right.stderr
    assert "largest difference" not in right.stdout + right.stderr
    falsify(own)
    wrong = start(triton, own, "locust", *arguments)
    assert wrong.returncode == 1, wrong.stderr
    assert "largest difference" in wrong.stdout + wrong.stderr


def test_what_cannot_be_judged_is_not_run(triton: Server, own: Path) -> None:
    unknown = load(triton, own, "vit", "--promises", promise(own))
    assert unknown.returncode == 3
    assert "nothing about 'vit'; it knows: cnn, lstm" in unknown.stderr
    (own / "report").touch()
    unwritable = load(triton, own, "cnn", "--promises", promise(own))
    assert unwritable.returncode == 3
    assert re.fullmatch(r"error: cannot write .*: (File exists|Not a directory)\n", unwritable.stderr)
    (own / "report").unlink()
    (own / "models" / "cnn" / "1").rename(own / "models" / "cnn" / "7")
    newer = load(triton, own, "cnn", "--promises", promise(own))
    assert newer.returncode == 3
    assert "newest golden answers are of version 7" in newer.stderr
    (own / "models" / "cnn" / "7" / "golden.npz").unlink()
    missing = load(triton, own, "cnn", "--promises", promise(own))
    assert missing.returncode == 3
    assert "golden.npz is missing" in missing.stderr
    assert not (own / "report").exists()


def falsify(own: Path) -> None:
    """Golden answers of the cnn that no server gives."""
    path = own / "models" / "cnn" / "1" / "golden.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["outputs/probabilities"] = arrays["outputs/probabilities"][:, ::-1] + np.float32(0.1)
    np.savez(path, **arrays)
