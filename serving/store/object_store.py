"""An object store: a folder, S3, Google Cloud Storage or Azure, and its errors in one line.

obstore and not fsspec, because only it creates an object on the condition that there is none, on each of these stores:
two who push the same version at once cannot both win. (developmentseed.org/obstore, "put", mode="create")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, from_url
from obstore.store import ObjectStore as AnyStore

from serving.errors import ServingError
from serving.store.contents import Contents, File
from serving.store.signature import SUFFIX

MODELS = "models"


class ObjectStore:
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
        self._store = _open(url, make)

    def address(self, model: str, version: int) -> str:
        """See `Store`."""
        return f"{self.url}/{_document(model, version)}"

    def blob_address(self, file: File) -> str:
        """See `Store`."""
        return f"{self.url}/{_blob(file)}"

    def versions(self) -> dict[str, list[int]]:
        """See `Store`."""
        found: dict[str, list[int]] = {}
        with self._errors():
            for batch in obstore.list(self._store, prefix=MODELS):
                for entry in batch:
                    _, model, name = [*entry["path"].split("/"), "", ""][:3]
                    number, _, kind = name.partition(".")
                    if kind == "json" and number.isdecimal():
                        found.setdefault(model, []).append(int(number))
        return {model: sorted(numbers) for model, numbers in sorted(found.items())}

    def document(self, model: str, version: int) -> bytes | None:
        """See `Store`."""
        return self._read(_document(model, version))

    def create(self, contents: Contents) -> bool:
        """See `Store`."""
        where = _document(contents.model, contents.version)
        with self._errors():
            try:
                obstore.put(self._store, where, contents.document(), mode="create")
            except (AlreadyExistsError, FileExistsError):
                return False
        return True

    def signature(self, model: str, version: int) -> bytes | None:
        """See `Store`."""
        return self._read(_document(model, version) + SUFFIX)

    def sign(self, contents: Contents, signature: bytes) -> None:
        """See `Store`."""
        with self._errors():
            obstore.put(self._store, _document(contents.model, contents.version) + SUFFIX, signature)

    def has(self, file: File) -> bool:
        """See `Store`."""
        with self._errors():
            try:
                return bool(obstore.head(self._store, _blob(file))["size"] == file.size)
            except (NotFoundError, FileNotFoundError):
                return False

    def put(self, file: File, source: Path) -> None:
        """See `Store`."""
        with self._errors():
            obstore.put(self._store, _blob(file), source)

    def read_from(self, file: File, offset: int) -> Iterator[bytes]:
        """See `Store`."""
        options = {"range": {"offset": offset}} if offset else None
        with self._errors():
            try:
                result = obstore.get(self._store, _blob(file), options=options)  # type: ignore[arg-type]  # is a dict
                for chunk in result.stream(min_chunk_size=1 << 20):
                    yield bytes(chunk)
            except (NotFoundError, FileNotFoundError):
                raise ServingError(f"{self.blob_address(file)} is missing; push the version again") from None

    def _read(self, path: str) -> bytes | None:
        with self._errors():
            try:
                return bytes(obstore.get(self._store, path).bytes())
            except (NotFoundError, FileNotFoundError):
                return None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise
        except (BaseError, OSError) as error:
            said = " ".join(str(error).split("\n\nDebug source")[0].split())
            raise ServingError(f"{self.url}: {said[:400]}; check the address and the credentials") from error


def _document(model: str, version: int) -> str:
    return f"{MODELS}/{model}/{version}.json"


def _blob(file: File) -> str:
    return f"sha256/{file.sha256}"


def _open(url: str, make: bool) -> AnyStore:
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
            f"{url}: {said[:300]}; expected s3://bucket/prefix, gs://..., az://..., oci://registry/name, or a folder"
        ) from error
