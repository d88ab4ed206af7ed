"""The commands of a page of the docs, run as a person types them."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from serving.server.running import running

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def bash(commands: str, folder: Path, environment: Mapping[str, str] = {}) -> str:
    """Run commands in `folder`, each of which has to succeed; what they print on both outputs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, "CONCH_ARTIFACTS": "artifacts", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    assert "Traceback" not in done.stdout
    return done.stdout


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """`conch serve` over the artifacts in `folder`, on free ports; where its commands find it."""
    command = [sys.executable, "-m", "conch", "serve", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    state = folder / "artifacts" / "server" / "state.json"
    environment = {**os.environ, "CONCH_ARTIFACTS": str(folder / "artifacts")}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (found := running(state)):
            assert server.poll() is None, "conch serve ended"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield {"CONCH_HTTP": found.http, "CONCH_GRPC": found.grpc, "CONCH_METRICS": found.metrics}
    finally:
        server.terminate()
        server.wait(60)
