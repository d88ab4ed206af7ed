"""python -m serving serve|status|down|publish|lint|tune: the same as `conch` with these verbs."""

import importlib
import sys
from collections.abc import Sequence

VERBS = ("serve", "status", "down", "publish", "lint", "tune")


def main(words: Sequence[str] | None = None) -> int:
    """Run one of them; the exit code."""
    verb, *rest = (sys.argv[1:] if words is None else list(words)) or [""]
    verb = "serve" if verb == "up" else verb  # what it was called before there was one command
    if verb not in VERBS:
        (sys.stdout if verb in ("-h", "--help") else sys.stderr).write(f"{__doc__}\n")
        return 0 if verb in ("-h", "--help") else 2
    return int(importlib.import_module(f"serving.commands.{verb}").main(rest))


if __name__ == "__main__":
    sys.exit(main())
