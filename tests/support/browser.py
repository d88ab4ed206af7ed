"""A real Chromium, and `conch page` as a program of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
def running_page(url: str, metrics: str, artifacts: Path) -> Iterator[str]:
    """`conch page` of this server; its address. It leaves nothing in the folder that it runs in."""
    environment = os.environ | {"CONCH_ARTIFACTS": str(artifacts), "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "conch", "page", "--url", url, "--metrics", metrics, "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            try:
                line = program.stdout.readline()
                found = re.fullmatch(r"page: (http://127\.0\.0\.1:\d+)\n", line)
                assert found, line
                yield found[1]
            finally:
                program.terminate()
        assert list(Path(folder).iterdir()) == []
