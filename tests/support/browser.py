"""A real Chromium, and `conch page` as a program of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from conch import PROJECT

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[object]:
    """A headless browser with a webcam that is none; the test is skipped where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[*flags, *_as_root()])
        yield browser
        browser.close()


def _as_root() -> list[str]:
    """Chromium's sandbox runs for nobody who may do all."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


@contextmanager
def running_page(url: str, metrics: str, artifacts: Path, *flags: str) -> Iterator[str]:
    """`conch page` of this server; its address. It leaves nothing in the folder that it runs in."""
    words = ["conch", "page", "--url", url, "--metrics", metrics, *flags]
    with tempfile.TemporaryDirectory() as folder:
        with running_command(words, Path(folder), artifacts) as address:
            yield address
        assert list(Path(folder).iterdir()) == []


@contextmanager
def running_command(words: Sequence[str], folder: Path, artifacts: Path, **more: str) -> Iterator[str]:
    """A command that opens a page in the end, begun in `folder`, with the page at a free port; its address."""
    environment = os.environ | {"CONCH_ARTIFACTS": str(artifacts), "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with subprocess.Popen(
        [sys.executable, "-m", *words, "--port", "0"], cwd=folder, env=environment | {"PATH": path} | more,
        stdout=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        try:
            line = program.stdout.readline()
            found = re.fullmatch(r"page: (http://127\.0\.0\.1:\d+)\n", line)
            assert found, line
            yield found[1]
        finally:
            program.terminate()
