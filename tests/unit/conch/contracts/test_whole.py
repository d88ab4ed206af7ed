"""Whole or not at all: whatever kills the writer, and without a finger on what is somebody else's."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conch.contracts import whole
from conch.contracts.errors import ConchError
from conch.contracts.owned import LOCK
from conch.contracts.whole import PREFIX, recover, sweep, whole_folder, write_whole
from training.checkpoints.manifest import checkpoint_folder, read_manifest

# Writes "new" over target, and ends itself with SIGKILL at the step it is told.
WRITER = """
import os, signal, sys
from pathlib import Path
from conch.contracts import whole

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

step = sys.argv[2]
if step in ("between the renames", "before the clean-up"):
    whole.exchange = lambda *_: False
if step == "between the renames":
    rename = Path.rename
    Path.rename = lambda self, target: die() if self.name == "content" else rename(self, target)
if step in ("before the clean-up", "after the exchange"):
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
    ("step", "content"),
    [
        ("while writing", "old"),
        ("between the renames", "new"),
        ("before the clean-up", "new"),
        ("after the exchange", "new"),
    ],
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
    assert whole.exchange(one, other)
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


@pytest.mark.parametrize(
    ("path", "number"), [("sibling/weights", errno.ENOENT), ("elsewhere", errno.ENOSPC), ("elsewhere", errno.EROFS)]
)
def test_an_error_that_names_a_file_elsewhere_is_not_the_folders(tmp_path: Path, path: str, number: int) -> None:
    error = OSError(number, os.strerror(number), str(tmp_path / path))
    with pytest.raises(OSError, match=path) as raised, whole_folder(tmp_path / "target"):
        raise error
    assert raised.value is error
    with pytest.raises(ConchError, match="cannot write"), whole_folder(tmp_path / "target"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as writing to an open file says it


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize(("failures", "content"), [(1, "new"), (2, "old"), (3, None)])
def test_an_exception_between_the_renames_loses_nothing(
    tmp_path: Path, interruption: BaseException, failures: int, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one is put there once more, else the old one, else both are kept for the next who looks."""
    target, rename, left = tmp_path / "net", Path.rename, [failures]
    with whole_folder(target) as folder:
        (folder / "file").write_text("old")

    def fail(self: Path, to: Path) -> Path:
        if to == target and left[0]:
            left[0] -= 1
            raise interruption if left[0] == failures - 1 else OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(whole, "exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((KeyboardInterrupt, ConchError)), whole_folder(target) as folder:
        (folder / "file").write_text("new")
    if content is None:
        assert not target.exists()
        recover(target)
    assert (target / "file").read_text() == (content or "new")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [target]


def test_who_reads_a_checkpoint_brings_it_back(artifacts: Path) -> None:
    target = checkpoint_folder("net")
    for text in ("{}", '{"settings": {}, "fingerprint": "", "sha256": {"weights": ""}}'):
        with whole_folder(target) as folder:
            (folder / "file").write_text("old")
            (folder / "manifest.json").write_text(text)
    staging = target.parent / f"{PREFIX}left"
    staging.mkdir()
    (staging / LOCK).touch()
    (staging / "target").write_text("net")
    target.rename(staging / "before")
    assert read_manifest("net")["fingerprint"] == ""
    assert [entry.name for entry in target.parent.iterdir()] == ["net"]


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "folder" / "file"
    write_whole(file, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert [entry.name for entry in file.parent.iterdir()] == ["file"]
