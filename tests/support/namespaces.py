"""Commands of containers as written, without containers: in a network of their own, with folders for volumes."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from conch.command_line import program
from serving.server.tritonserver import Installation

ROOT = Path(__file__).parents[2]
OF_PROCESSES = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
"""Before a command: as in a container that shares the file system, no process outside of it can be seen."""
# Root's own user, for nginx gives up its rights to another.
NAMESPACES = ["unshare", "--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
ALLOWED = subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode == 0
processes_alone = pytest.mark.skipif(
    subprocess.run([*OF_PROCESSES, "true"], capture_output=True, check=False).returncode != 0,
    reason="only root makes a namespace of its own",
)
alone = pytest.mark.skipif(not ALLOWED, reason="only root makes a network of its own")


def placed(words: Sequence[str], places: Mapping[str, Path]) -> list[str]:
    """The words, with folders of this machine in the place of a container's."""
    pattern = rf"(^|=)({'|'.join(sorted(places, key=len, reverse=True))})(?=/|$)"
    return [re.sub(pattern, lambda m: m[1] + str(places[m[2]]), word) for word in words]


def kit(words: Sequence[str]) -> str:
    """A command of the kit, for a shell."""
    return shlex.join(program("conch", *words))


def embedded(words: Sequence[str], installed: Installation) -> str:
    """Triton's command line, for a shell, with the embedded server in the place of NVIDIA's."""
    return shlex.join([str(installed.program), f"--backend-directory={installed.backends}", *words[1:]])


def until_healthy(url: str) -> str:
    """Shell: wait for a page to say that all is well, a minute at most, and print it."""
    ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
    health = f"{shlex.quote(sys.executable)} -c {shlex.quote(ask)} {url}"
    return f"for _ in $(seq 120); do if {health} 2> /dev/null; then break; fi; sleep 0.5; done"


def run_alone(
    script: Sequence[str], installed: Installation, folder: Path, hosts: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the lines in a network where nobody else is.

    Args:
        script: Lines of a shell.
        installed: Triton's program.
        folder: For what the kit's commands write.
        hosts: Names that are this machine.
    """
    names = folder / "hosts"
    names.write_text(f"127.0.0.1 localhost {' '.join(hosts)}\n")
    begin = ["set -e", "ip link set lo up", f"mount --bind {names} /etc/hosts"]
    # As in a container, where nobody else's processes look for what those of unknown ids have left.
    begin += ["mount -t tmpfs none /var/tmp", "export TMPDIR=/var/tmp"]
    environment = {**installed.environment, "CONCH_ARTIFACTS": str(folder / "conch"), "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join([environment["PATH"], "/usr/sbin", "/sbin"])
    return subprocess.run(
        [*NAMESPACES, "bash", "-c", "\n".join([*begin, *script])], env=environment, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
