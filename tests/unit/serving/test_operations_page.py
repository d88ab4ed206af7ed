"""docs/operations.md says what the code says: each event that is emitted, and none that is not."""

import ast
import re
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operations.md"


def emitted() -> set[str]:
    """The events that the kit emits, by its source: `emit("a", ...)` and `callback(emit, "a", ...)`."""
    found = set()
    for file in (ROOT / "serving").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            words = [node.func, *node.args] if isinstance(node, ast.Call) else []
            for word, event in pairwise(words):
                if isinstance(word, ast.Name) and word.id == "emit" and isinstance(event, ast.Constant):
                    found.add(str(event.value))
    return found


def test_the_page_lists_each_event() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:info|warning|error)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(emitted())
