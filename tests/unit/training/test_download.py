"""Downloads against a real HTTP server that sends the whole file, half of it, another one, or nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from conch.contracts.errors import ConchError
from tests.support.http_servers import Answering, answering
from training.data import download
from training.data.download import PublicFile, find_or_fetch

CONTENT = bytes(range(256)) * 4096
MD5 = hashlib.md5(CONTENT).hexdigest()


class Mirror(Answering):
    """Answers by the first part of the path; remembers the ranges it was asked for."""

    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        behaviour = self.path.split("/")[1]
        self.ranges.append(self.headers["Range"])
        if behaviour == "missing":
            self.send_error(404)
        elif behaviour == "slow":
            time.sleep(1.5)
        elif behaviour == "corrupt":
            self.answer(CONTENT[::-1])
        elif behaviour == "truncates" and self.headers["Range"] is None:
            self.answer(CONTENT[: len(CONTENT) // 3], length=len(CONTENT))
        elif behaviour == "always-truncates":
            self.answer(CONTENT[:1000], length=len(CONTENT))
        else:
            self._whole_or_rest()

    def _whole_or_rest(self) -> None:
        asked = self.headers["Range"]
        if asked is None:
            self.answer(CONTENT)
        else:
            rest = CONTENT[int(asked.removeprefix("bytes=").rstrip("-")) :]
            self.answer(rest, 206 if rest else 416)


@pytest.fixture
def mirror() -> Iterator[str]:
    Mirror.ranges.clear()
    with answering(Mirror) as port:
        yield f"http://127.0.0.1:{port}"


def file_from(*urls: str) -> PublicFile:
    return PublicFile("data.bin", MD5, tuple(f"{url}/data.bin" for url in urls))


def files_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_whole_file_is_fetched_once(mirror: str, tmp_path: Path) -> None:
    for _ in range(2):
        path = find_or_fetch(file_from(f"{mirror}/good"), tmp_path)
        assert path.read_bytes() == CONTENT
    assert Mirror.ranges == [None]
    assert files_in(tmp_path) == {"data.bin"}


def test_what_broke_off_is_resumed_where_it_did(mirror: str, tmp_path: Path) -> None:
    assert find_or_fetch(file_from(f"{mirror}/truncates"), tmp_path).read_bytes() == CONTENT
    kept = len(CONTENT) // 3 // download.CHUNK_BYTES * download.CHUNK_BYTES
    assert Mirror.ranges == [None, f"bytes={kept}-"]
    assert kept > 0


def test_a_part_of_an_earlier_run_is_used(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:5000])
    assert find_or_fetch(file_from(f"{mirror}/good"), tmp_path).read_bytes() == CONTENT
    assert Mirror.ranges == ["bytes=5000-"]


def test_a_part_that_is_too_long_is_thrown_away(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    assert find_or_fetch(file_from(f"{mirror}/good"), tmp_path).read_bytes() == CONTENT


def test_another_content_never_gets_the_name(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(ConchError, match=r"what it sent has another checksum.*put the file there yourself"):
        find_or_fetch(file_from(f"{mirror}/corrupt"), tmp_path)
    assert "data.bin" not in files_in(tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("missing", "404 Not Found"), ("always-truncates", "ConnectionError|ChunkedEncodingError"), ("slow", "Timeout")],
)
def test_a_mirror_that_fails_says_how(
    behaviour: str, reason: str, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(ConchError, match=f"no data.bin in .*{reason}.*its md5 is {MD5}"):
        find_or_fetch(file_from(f"{mirror}/{behaviour}"), tmp_path)
    assert "data.bin" not in files_in(tmp_path)


def test_the_next_mirror_is_asked(mirror: str, tmp_path: Path) -> None:
    file = file_from("http://127.0.0.1:9", f"{mirror}/missing", f"{mirror}/corrupt", f"{mirror}/good")
    assert find_or_fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_damaged_file_is_named_and_left(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"damaged")
    with pytest.raises(ConchError, match=r"data\.bin is damaged.*delete it"):
        find_or_fetch(file_from("http://127.0.0.1:9"), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == b"damaged"
