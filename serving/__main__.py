"""python -m serving VERB: the verbs of `conch` that are about serving."""

import importlib
import sys
from collections.abc import Sequence

from conch.__main__ import VERBS as ALL

PREFIX = "serving.commands."
VERBS = ("publish", *(verb for verb, module in ALL.items() if module.startswith(PREFIX)))
"""`publish` without what proves a file against PyTorch, which is the export's."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one of them; the exit code."""
    verb, *rest = (sys.argv[1:] if words is None else list(words)) or [""]
    verb = "serve" if verb == "up" else verb  # what it was called before there was one command
    if verb not in VERBS:
        (sys.stdout if verb in ("-h", "--help") else sys.stderr).write(f"{__doc__}\n{', '.join(VERBS)}\n")
        return 0 if verb in ("-h", "--help") else 2
    return int(importlib.import_module(f"{PREFIX}{verb}").main(rest))


if __name__ == "__main__":
    sys.exit(main())
