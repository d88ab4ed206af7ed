"""`make bench-gpu` where there is no GPU: its dry run really exports, runs, serves and calls; a real one is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.gpu.__main__ import DRY
from tests.bench.gpu.plan import HTTP, SYSTEM
from tests.gpu.device import why_no_gpu

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks-gpu.md"


def bench(artifacts: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench.gpu", *arguments],
        cwd=ROOT, env=os.environ | {"CONCH_ARTIFACTS": str(artifacts)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.mark.long
def test_the_dry_run_runs(artifacts: Path) -> None:
    """One model by ONNX Runtime, in process and over every transport; the page and the artifacts stay as they are."""
    before, files = PAGE.read_text(), sorted(artifacts.iterdir())
    run = bench(artifacts, "--dry-run", "--models", "cnn", "--precisions", "fp16", "--contenders", "ONNX Runtime")
    assert run.returncode == 0, run.stdout + run.stderr
    for cell in ("in process, cnn, fp16, batch 1: ONNX Runtime ", f"served, cnn, fp16, {HTTP}, 1 at once: ",
                 f"served, cnn, fp16, {SYSTEM}, 1 at once: "):  # fmt: skip
        (line,) = [line for line in run.stdout.splitlines() if line.startswith(f"{DRY}: {cell}")]
        assert any(unit in line for unit in (" ms", "/s, p99"))
    assert "No figure was measured yet" in run.stdout
    assert (PAGE.read_text(), sorted(artifacts.iterdir())) == (before, files)


@pytest.mark.skipif(not why_no_gpu(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured_and_the_page_stays(artifacts: Path) -> None:
    before = PAGE.read_text()
    run = bench(artifacts, "--models", "cnn", "--minutes", "1")
    assert (run.returncode, run.stderr.strip()) == (1, f"error: {why_no_gpu()}")
    assert PAGE.read_text() == before
