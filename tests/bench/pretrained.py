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
PATIENCE_S = 900


def main(kinds: Sequence[str]) -> int:
    """Measure and write the table; 1 where something was not exported."""
    rows = []
    for kind in kinds or ALL:
        rows += list(_rows(kind))
        sys.stderr.write(f"{rows[-1]}\n")
    head = ("| architecture | task | exporter | largest error | CPU seconds | |", "|---|---|---|---|---|---|")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join([*head, *rows])
    PAGE.write_text(f"{before}{BEGIN}{table}\n{END}{after}", encoding="utf-8")
    return int(any("| - |" in row for row in rows))


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
