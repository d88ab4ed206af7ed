import errno
from pathlib import Path
from typing import BinaryIO

import pytest

from clients.errors import UnwritableOutput
from clients.writing import write_whole


def test_full_disk_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "answer.npy"
    path.write_bytes(b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half of the new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UnwritableOutput, match=r"answer.npy: No space left"):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_new_file_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "answer.npy"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"new")

    write_whole(path, write)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
