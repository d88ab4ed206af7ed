"""A registry of containers on loopback: Debian's docker-registry, which is Docker's own (distribution)."""

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

PROGRAM = shutil.which("docker-registry")
installed = pytest.mark.skipif(PROGRAM is None, reason="docker-registry is missing: apt-get install docker-registry")


@contextlib.contextmanager
def docker_registry(folder: Path, passwords: Path | None = None) -> Iterator[str]:
    """The host and port of a registry with nothing in it.

    Args:
        folder: For what it keeps.
        passwords: A file of `htpasswd`, where callers have to say who they are.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "version": 0.1, "log": {"level": "error"}, "http": {"addr": address},
        "storage": {"filesystem": {"rootdirectory": str(folder / "kept")}},
    }  # fmt: skip
    if passwords:
        config["auth"] = {"htpasswd": {"realm": "here", "path": str(passwords)}}
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    assert PROGRAM is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "log").read_text())
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/v2/", timeout=5)
    except urllib.error.HTTPError:
        return True  # it asks who it is
    except OSError:
        return False
    return True
