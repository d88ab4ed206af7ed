"""Bring versions of a repository into a store: file by file, and the document that names them last."""

from collections.abc import Callable
from pathlib import Path

import obstore
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from obstore.exceptions import AlreadyExistsError

from serving.errors import ServingError
from serving.store.contents import Contents, local_files, parse_contents, read_contents
from serving.store.object_store import Store
from serving.store.signature import SUFFIX

Progress = Callable[[int], None]
"""Told how many bytes more are done."""


def push(store: Store, model: Path, version: int, key: Ed25519PrivateKey | None, on_progress: Progress) -> bool:
    """Push one version; whether it was not there yet.

    What a push that was cut off had sent already is not sent again. A reader finds the version when its document is
    there, which is written last and once: of two who push the same number, one wins.

    Args:
        store: Where to.
        model: The model's folder in a repository.
        version: Its number.
        key: Signs the version, where there is one.
        on_progress: As `Progress`.

    Raises:
        ServingError: The version is not proven, or not what was proven; the store has another one of this number; it
            cannot be written.
        GoldenError: Its manifest is damaged.
        OSError: A file cannot be read.
    """
    contents = read_contents(model, version)
    if _is_there(store, contents):
        if key is not None:
            _sign(store, contents, key)
        on_progress(contents.size)
        return False
    files = local_files(model, version)
    for path, file in contents.files.items():
        if store.size(store.blob(file)) != file.size:
            with store.errors():
                obstore.put(store.store, store.blob(file), files[path])
        on_progress(file.size)
    if key is not None:
        _sign(store, contents, key)
    with store.errors():
        try:
            obstore.put(store.store, store.document(contents.model, version), contents.document(), mode="create")
        except (AlreadyExistsError, FileExistsError):
            return not _is_there(store, contents)
    return True


def _is_there(store: Store, contents: Contents) -> bool:
    """Whether the store has this version; raises a `ServingError` where it has another one of the same number."""
    where = store.document(contents.model, contents.version)
    document = store.read(where)
    if document is None:
        return False
    if differs := contents.difference(parse_contents(document, f"{store.url}/{where}")):
        raise ServingError(
            f"{store.url} has another version {contents.version} of {contents.model!r}, which differs in {differs}: "
            f"a version never changes; publish this one under a new number"
        )
    return True


def _sign(store: Store, contents: Contents, key: Ed25519PrivateKey) -> None:
    with store.errors():
        where = store.document(contents.model, contents.version) + SUFFIX
        obstore.put(store.store, where, key.sign(contents.document()))
