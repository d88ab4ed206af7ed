"""Fetch a public file once: checked, resumed where it broke off, from the first mirror that has it.

pooch keeps the checksum and the atomic move into place; what it does not do, going on with a broken download, is the
downloader below.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from conch.contracts.errors import ConchError

TIMEOUT_SECONDS = 30
ATTEMPTS_A_MIRROR = 3
CHUNK_BYTES = 1 << 16  # as much is lost where a download breaks off


@dataclass(frozen=True)
class PublicFile:
    """A file that several servers hold."""

    name: str
    md5: str
    """As its publisher states it."""
    mirrors: tuple[str, ...]
    """Whole URLs, best first."""


def find_or_fetch(file: PublicFile, folder: Path) -> Path:
    """The file in `folder`, downloaded where it is not there yet.

    Raises:
        ConchError: it is damaged, or no mirror has it; the message says what to put where.
    """
    path = folder / file.name
    if path.is_file():
        if pooch.file_hash(str(path), alg="md5") != file.md5:
            raise ConchError(f"{path} is damaged (its md5 is not {file.md5}); delete it to have it fetched again")
        return path
    failures: dict[str, None] = {}  # each reason once, in order
    for url in file.mirrors:
        for _ in range(ATTEMPTS_A_MIRROR):
            failure = _fetch(url, file, folder)
            if not failure:
                return path
            failures[failure] = None
    raise ConchError(
        f"no {file.name} in {folder}, and it cannot be downloaded ({'; '.join(failures)}); "
        f"put the file there yourself, its md5 is {file.md5}"
    )


def _fetch(url: str, file: PublicFile, folder: Path) -> str:
    """Try one mirror once; why it failed, or "" when the file is in place."""
    pooch.get_logger().setLevel("WARNING")  # the progress bar says what is being fetched
    try:
        pooch.retrieve(
            url, f"md5:{file.md5}", fname=file.name, path=folder, downloader=ResumingDownloader(folder, file.name)
        )
    except requests.RequestException as error:
        return f"{url}: {_reason(error)}"
    except ValueError:  # pooch's word for a wrong checksum
        return f"{url}: what it sent has another checksum"
    except OSError as error:
        raise ConchError(f"cannot write to {folder}: {error.strerror or error}") from error
    return ""


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    return type(error).__name__


class ResumingDownloader:
    """A pooch downloader that keeps what came in `<name>.part` and asks only for the rest (RFC 9110, Range)."""

    def __init__(self, folder: Path, name: str) -> None:
        self.part = folder / f"{name}.part"

    def __call__(self, url: str, output_file: str, pooch_instance: Any) -> None:
        """Download `url` to `output_file`, a path that pooch checks and moves.

        Raises:
            requests.RequestException: what came so far is kept for the next call.
        """
        have = self.part.stat().st_size if self.part.is_file() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink()  # longer than the file: not a part of it
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            self._receive(response, have if resumed else 0)
        self.part.replace(output_file)

    def _receive(self, response: requests.Response, have: int) -> None:
        expected = have + int(response.headers.get("Content-Length", 0))
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with self.part.open("r+b" if have else "wb") as part, Progress(*columns) as progress:
            part.seek(have)
            task = progress.add_task(self.part.stem, total=expected or None, completed=have)
            for chunk in response.iter_content(CHUNK_BYTES):
                part.write(chunk)
                progress.advance(task, len(chunk))
        got = self.part.stat().st_size
        if "Content-Length" in response.headers and got < expected:
            raise requests.ConnectionError(f"broke off after {got} of {expected} bytes")
