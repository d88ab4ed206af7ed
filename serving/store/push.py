"""Bring versions of a repository into a store: file by file, and the document that names them last."""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serving.errors import ServingError
from serving.store.contents import Contents, local_files, parse_contents, read_contents
from serving.store.store import Store

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
            store.sign(contents, key.sign(contents.document()))
        on_progress(contents.size)
        return False
    files = local_files(model, version)
    for path, file in contents.files.items():
        if not store.has(file):
            store.put(file, files[path])
        on_progress(file.size)
    if key is not None:
        store.sign(contents, key.sign(contents.document()))
    return store.create(contents) or not _is_there(store, contents)


def _is_there(store: Store, contents: Contents) -> bool:
    """Whether the store has this version; raises a `ServingError` where it has another one of the same number."""
    document = store.document(contents.model, contents.version)
    if document is None:
        return False
    if differs := contents.difference(parse_contents(document, store.address(contents.model, contents.version))):
        raise ServingError(
            f"{store.url} has another version {contents.version} of {contents.model!r}, which differs in {differs}: "
            f"a version never changes; publish this one under a new number"
        )
    return True
