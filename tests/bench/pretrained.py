"""The table of docs/pretrained.md, measured: python -m tests.bench.pretrained [KIND ...]

Each kind of folder that `tests/support/pretrained_folders.py` makes is exported by the command, in its own process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.pretrained_folders import ALL, make

PAGE = Path(__file__).parents[2] / "docs" / "pretrained.md"
BEGIN, END = "<!-- measured by python -m tests.bench.pretrained -->\n", "<!-- end -->"
HEAD = ("| architecture | task | exporter | largest error | CPU seconds | |", "|---|---|---|---|---|---|")
PATIENCE_S = 900


def main(kinds: Sequence[str]) -> int:
    """Measure and write a row each, in place of those of the same architecture; 1 where something was not exported."""
    measured: list[str] = []
    for kind in kinds or ALL:
        found = list(_rows(kind))
        sys.stderr.write("\n".join([*found, ""]))
        _write(found)  # a run that is stopped keeps what it has
        measured += found
    return int(any("| - |" in row for row in measured))


def _write(measured: Sequence[str]) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    architectures = {row.split(" | ")[0] for row in measured}
    kept = [row for row in table.splitlines()[len(HEAD) :] if row.split(" | ")[0] not in architectures]
    rows = "\n".join([*HEAD, *sorted([*kept, *measured])])
    PAGE.write_text(f"{before}{BEGIN}{rows}\n{END}{after}", encoding="utf-8")


def _rows(kind: str) -> Iterator[str]:
    made = ALL[kind]
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / kind, made)
        words = ["export", "pretrained", f"{folder}/{kind}", "--name", kind, "--json", *made.words]
        words += ["--task", made.task] if made.task else []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "conch", *words],
            env={**os.environ, "CONCH_ARTIFACTS": folder},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        documents = json.loads(done.stdout) if done.stdout.strip() else []
        for document in documents:
            yield _row(made.architecture, Path(folder), document, seconds / len(documents))
        if not documents:
            reason = done.stderr.strip().splitlines()[-1][:200]
            yield f"| {made.architecture} | {made.task or ''} | - | - | | {reason} |"


def _row(architecture: str, artifacts: Path, document: dict[str, Any], seconds: float) -> str:
    if not document["version"]:
        return f"| {architecture} | | - | - | {seconds:.0f} | {document['error'][:200]} |"
    manifest = json.loads((Path(document["version"]) / "manifest.json").read_text())
    own = document["own_answers"]
    worst = max(*own["alone"].values(), *own["in_batch"].values())
    passed_over = ", ".join(
        f"{one['exporter']} passed over: {one['failures'][0][:120]}" for one in document["rejected"]
    )
    task, exporter = manifest["source"]["task"], document["exporter"]
    return f"| {architecture} | {task} | {exporter} | {worst:.1e} | {seconds:.0f} | {passed_over} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
