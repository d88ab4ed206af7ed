"""docs/operations.md says what the code says: each event that is emitted, and none that is not."""

import ast
import re
from itertools import pairwise
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from serving.monitoring.metrics import SupervisorMetrics
from serving.monitoring.monitor import TOLD

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operations.md"


def emitted() -> set[str]:
    """The events that the kit emits, by its source: `emit("a", ...)`, `callback(emit, "a")`, and the probe's table."""
    found = {event for event, _, _ in TOLD.values()}
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


def test_the_page_lists_each_metric_with_its_labels() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## The supervisor's metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`conch_.+?) \|(.*?)\|", table, re.MULTILINE)
    listed = {name: set(re.findall(r"\w+", labels)) for names, labels in rows for name in re.findall(r"\w+", names)}
    known = [value for value in vars(SupervisorMetrics()).values() if isinstance(value, MetricWrapperBase)]
    assert listed == {
        metric._name + ("_total" if metric._type == "counter" else ""): set(metric._labelnames) for metric in known
    }
