"""The flags of each command, as its own parser tells them, kept in the user's cache: some parsers take seconds.

tyro prints a completion script of a command for `--tyro-print-completion`; the specification in it is what is kept.
"""

import ast
import contextlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conch import PROJECT

PATIENCE_S = 2.0
"""So long Tab waits for a parser; it goes on without, and is known at the next Tab."""

SPECIFICATION = re.compile(r"^COMPLETION_SPEC = (\{.*\})$", re.MULTILINE)
KEPT = ("flags", "type", "choices", "description")


def specification(command: Sequence[str]) -> dict[str, Any] | None:
    """What tyro knows of `command`, as ("call",) or ("train", "cnn"): `options` and `subcommands`.

    Empty where its parser does not tell, and None where that is not known yet.
    """
    file = _cache_file(command)
    if not file.exists():
        learner = subprocess.Popen(
            [sys.executable, "-m", "conch", "completion", "learn", *command],
            cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # it is not ended by Ctrl-C at the prompt
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            learner.wait(PATIENCE_S)
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError):
        return None


def learn(command: Sequence[str]) -> None:
    """Ask the parser of `command`, and keep what it says; versions of before are forgotten."""
    from conch.__main__ import VERBS

    verb, *rest = command
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        importlib.import_module(VERBS[verb]).main([*rest, "--tyro-print-completion", "bash"])
    found = SPECIFICATION.search(printed.getvalue())
    kept = _condensed(ast.literal_eval(found[1])) if found else {}
    file = _cache_file(command)
    file.parent.mkdir(parents=True, exist_ok=True)
    for old in file.parent.glob(f"{'-'.join(command)}@*"):
        old.unlink(missing_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(kept))
    part.replace(file)


def _condensed(found: dict[str, Any]) -> dict[str, Any]:
    options = [{key: option[key] for key in KEPT if key in option} for option in found.get("options", [])]
    below = {name: _condensed(each) for name, each in found.get("subcommands", {}).items()}
    return {"options": options, "subcommands": below}


def _cache_file(command: Sequence[str]) -> Path:
    """Of the code as it is now: another installation, or a change to the verb's package, has another file."""
    from conch.__main__ import VERBS

    package = PROJECT / VERBS[command[0]].partition(".")[0]
    newest = max(file.stat().st_mtime_ns for file in package.rglob("*.py"))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "conch" / "completion" / f"{'-'.join(command)}@{newest:x}.json"
