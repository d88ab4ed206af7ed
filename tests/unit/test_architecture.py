"""docs/architecture.md names what is there, and the root holds no more than it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LISTED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
# Without git, as from an archive, the packages are what can be told from what runs leave beside them.
TRACKED = LISTED or [str(path.relative_to(ROOT)) for path in ROOT.glob("[a-z]*/**/*.py")]
FOLDERS = {path.split("/")[0] for path in TRACKED if "/" in path and not path.startswith(".")}


def test_each_path_on_the_page_is_in_the_tree() -> None:
    named = {
        path
        for path in re.findall(r"`([a-z_]+(?:/[A-Za-z_.]+)*)`", PAGE)
        if path.split("/")[0] in FOLDERS and ("/" in path or path in FOLDERS)
    }
    assert len(named) > 50
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_page_names_every_folder_of_the_root_and_every_room() -> None:
    rooms = {
        "/".join(path.split("/")[:2])
        for path in TRACKED
        if path.count("/") >= 2 and path.split("/")[0] in FOLDERS - {"docs"}
    }
    assert {name for name in FOLDERS | rooms if f"`{name}`" not in PAGE} == set()


@pytest.mark.slow
def test_what_trains_nothing_waits_for_no_lightning() -> None:
    """It takes seconds to import, and with it whatever its metrics find installed."""
    program = "import sys, export.publication.up_to_date, export.modules.module_export; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"lightning", "torchmetrics", "matplotlib"}.isdisjoint(done.stdout.split())
    assert "torch" in done.stdout.split()
