"""Reach an object store: a folder, S3, Google Cloud Storage or Azure, and its errors in one line.

obstore and not fsspec, because only it creates an object on the condition that there is none, on each of these stores:
two who push the same version at once cannot both win. (developmentseed.org/obstore, "put", mode="create")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from serving.errors import ServingError
from serving.store.contents import File

MODELS = "models"


class Store:
    """One store, by its address."""

    def __init__(self, url: str, *, make: bool = False) -> None:
        """Open it.

        Args:
            url: s3://bucket/prefix, gs://..., az://..., file:///folder or the path of a folder. Credentials are found
                as each provider's own tools find them, such as in AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
            make: Whether a folder is made that is not there.

        Raises:
            ServingError: There is no such kind of store, or no such folder.
        """
        self.url = url.rstrip("/")
        self.store = _open(url, make)

    def document(self, model: str, version: int) -> str:
        """Where the document of a version lies."""
        return f"{MODELS}/{model}/{version}.json"

    def blob(self, file: File) -> str:
        """Where the content of a file lies."""
        return f"sha256/{file.sha256}"

    def read(self, path: str) -> bytes | None:
        """What lies at `path`; None where nothing does."""
        with self.errors():
            try:
                return bytes(obstore.get(self.store, path).bytes())
            except (NotFoundError, FileNotFoundError):
                return None

    def size(self, path: str) -> int | None:
        """The size of what lies at `path`, in bytes; None where nothing does."""
        with self.errors():
            try:
                return int(obstore.head(self.store, path)["size"])
            except (NotFoundError, FileNotFoundError):
                return None

    def versions(self) -> dict[str, list[int]]:
        """The models of the store and their versions, ascending."""
        found: dict[str, list[int]] = {}
        with self.errors():
            for batch in obstore.list(self.store, prefix=MODELS):
                for entry in batch:
                    _, model, name = [*entry["path"].split("/"), "", ""][:3]
                    number, _, kind = name.partition(".")
                    if kind == "json" and number.isdecimal():
                        found.setdefault(model, []).append(int(number))
        return {model: sorted(numbers) for model, numbers in sorted(found.items())}

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """What goes wrong within is a `ServingError` of one line that names the store."""
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise
        except (BaseError, OSError) as error:
            said = " ".join(str(error).split("\n\nDebug source")[0].split())
            raise ServingError(f"{self.url}: {said[:400]}; check the address and the credentials") from error


def _open(url: str, make: bool) -> ObjectStore:
    if "://" not in url or url.startswith("file://"):
        folder = Path(url.removeprefix("file://")).absolute()
        if not make and not folder.is_dir():
            raise ServingError(f"{url} is no folder: `conch push` makes one")
        try:
            return LocalStore(folder, mkdir=make)
        except (BaseError, OSError) as error:
            raise ServingError(f"{url}: cannot make this folder ({error})") from error
    try:
        return from_url(url)
    except (BaseError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())
        raise ServingError(
            f"{url}: {said[:300]}; expected s3://bucket/prefix, gs://..., az://..., or a folder"
        ) from error
