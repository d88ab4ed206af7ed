"""Whole or not at all: whatever kills the writer, and without a finger on what is somebody else's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conch.contracts import whole
from conch.contracts.errors import ConchError
from conch.contracts.whole import PREFIX, recover, sweep, whole_folder, write_whole

# Writes "new" over target, and ends itself with SIGKILL at the step it is told.
WRITER = """
import os, signal, sys
from pathlib import Path
from conch.contracts import whole

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

step = sys.argv[2]
if step != "while writing":
    whole.exchange = lambda *_: False
if step == "between the renames":
    rename = Path.rename
    Path.rename = lambda self, target: die() if self.name == "content" else rename(self, target)
if step == "before the clean-up":
    whole.shutil.rmtree = die
with whole.whole_folder(Path(sys.argv[1])) as folder:
    (folder / "file").write_text("new")
    if step == "while writing":
        die()
"""


def killed(target: Path, step: str) -> None:
    ended = subprocess.run([sys.executable, "-c", WRITER, str(target), step], timeout=60)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "content"), [("while writing", "old"), ("between the renames", "new"), ("before the clean-up", "new")]
)
@pytest.mark.parametrize("found_by", [sweep, recover])
def test_a_killed_writer_leaves_the_old_or_the_new_one(
    tmp_path: Path, step: str, content: str, found_by: object
) -> None:
    target = tmp_path / "net"
    with whole_folder(target) as folder:
        (folder / "file").write_text("old")
    killed(target, step)
    assert target.exists() is (step != "between the renames")
    recover(target)
    assert (target / "file").read_text() == content
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net"]


def test_the_kernel_exchanges_in_one_step(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    if whole.exchange(one, other):  # a file system that cannot says so, and the two renames are tested above
        assert (one / "name").read_text() == "other"
        assert (other / "name").read_text() == "one"
    assert not whole.exchange(one, tmp_path / "missing")


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, exchanged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanged:
        monkeypatch.setattr(whole, "exchange", lambda *_: False)
    target = tmp_path / "target"
    for text in ("1", "2"):
        with whole_folder(target) as folder:
            (folder / "file").write_text(text)
            assert not target.exists() or (target / "file").read_text() == "1"
        assert (target / "file").read_text() == text
    assert list(tmp_path.iterdir()) == [target]


def test_what_others_write_or_only_looks_like_ours_stays(tmp_path: Path) -> None:
    look_alike = tmp_path / f"{PREFIX}mine"
    look_alike.mkdir()
    old_style = tmp_path / ".net-50-1-abc"
    old_style.mkdir()
    with whole_folder(tmp_path / "models-int8") as other:
        (other / "file").write_text("under way")
        for name in ("models", "models-int8-2", "net"):  # beside it, under names that begin alike
            with whole_folder(tmp_path / name) as folder:
                (folder / "file").write_text("")
        assert (other / "file").read_text() == "under way"
    assert (tmp_path / "models-int8" / "file").read_text() == "under way"
    assert look_alike.is_dir()
    assert old_style.is_dir()


def test_an_error_of_the_block_about_another_place_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="my-data"), whole_folder(tmp_path / "target"):
        Path("my-data").read_text()
    with pytest.raises(ConchError, match=r"cannot write .*target"), whole_folder(tmp_path / "target") as folder:
        (folder / "missing" / "file").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "folder" / "file"
    write_whole(file, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert [entry.name for entry in file.parent.iterdir()] == ["file"]
