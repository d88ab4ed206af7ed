"""A change of a file's text as a patch, which `git apply` and `patch -p1` take in the working folder."""

import difflib
import io
import os
from pathlib import Path

WITHOUT_END = "\\ No newline at end of file\n"


def patch(file: Path, before: str, after: str) -> str:
    """The difference between two texts of `file`, "" where there is none.

    Its path is that from the working folder; of a file elsewhere that from the root: `patch -p1 -d /` takes it there.

    Args:
        file: Where `before` is; the patch names it, nothing is read.
        before: The text as it is on disk, ends of lines included.
        after: The text that is to be there.

    Source: GNU diffutils manual, "Detailed Description of Unified Format" and "Incomplete Lines".
    """
    path = os.path.relpath(file)
    if path.startswith(os.pardir):
        path = str(file.absolute()).removeprefix(os.sep)
    end = "\t" if " " in path else ""  # else the name would end at its blank
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{path}{end}", f"b/{path}{end}", n=2)
    return "".join(line if line.endswith("\n") else f"{line}\n{WITHOUT_END}" for line in lines)


def _lines(text: str) -> list[str]:
    """Ended by LF alone, as the programs that apply a patch read them."""
    return list(io.StringIO(text, newline="\n"))
