"""Commands whose start is not what is tested: each runs in a fork of one process that has imported them already.

A start imports for up to a second; a fork takes some milliseconds, and shares nothing with the next one. The process is
`python -m tests.support.forked_commands MODULE...`: it reads a line of JSON a command, and answers with its exit code.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class ForkedCommands:
    """The commands of some modules; to be closed.

    Args:
        modules: What is imported beforehand.
    """

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *modules],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, module: str, *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What `python -m module` does with these arguments, in `cwd`, with `env` on top of this environment."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            asked = {
                "module": module, "arguments": arguments, "cwd": str(cwd), "env": dict(os.environ | (env or {})),
                "streams": [f"{folder}/out", f"{folder}/err"],
            }  # fmt: skip
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            out, err = (Path(file).read_text() for file in (f"{folder}/out", f"{folder}/err"))
        return subprocess.CompletedProcess([module, *arguments], code, out, err)

    def close(self) -> None:
        self._process.communicate(timeout=20)


def _serve(modules: list[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked)
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(asked: dict[str, Any]) -> None:
    """Run one command and end as it does."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for descriptor, file in enumerate(asked["streams"], 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = [asked["module"], *asked["arguments"]]
    code = 0
    try:
        code = importlib.import_module(asked["module"]).main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _serve(sys.argv[1:])
