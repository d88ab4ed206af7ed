"""Bring a version from a store into a repository: verified by its hashes, whole or not at all."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from conch.contracts.ensembles import parts
from conch.contracts.live import CONFIG
from conch.contracts.versions import versions
from conch.contracts.whole import sync_tree
from serving.errors import ServingError
from serving.repository.configuration import parse
from serving.repository.folder import check_level
from serving.repository.into_place import move_into_place, staging
from serving.repository.locking import locked
from serving.store.contents import Contents, File, parse_contents, read_contents
from serving.store.push import Progress
from serving.store.signature import check_signature
from serving.store.store import Store

MOST_CONFIG = 2**20
"""Bytes of a configuration, of which an ensemble's parts are read."""
DOWNLOADS = ".conch-downloads"
"""Beside the repository: files that are whole, under their hash, and parts of files; a pull that is cut off goes on."""


def find(store: Store, model: str, version: int, key: Ed25519PublicKey | None) -> Contents:
    """What a version in the store consists of.

    Raises:
        ServingError: The store does not have it, its document is damaged, or it is not signed by `key`.
    """
    document, address = store.document(model, version), store.address(model, version)
    if document is None:
        raise ServingError(f"{address}: there is no such version")
    if key is not None:
        check_signature(document, store.signature(model, version), key, address)
    contents = parse_contents(document, address)
    if (contents.model, contents.version) != (model, version):
        raise ServingError(f"{address} is of version {contents.version} of {contents.model!r}; nothing of it was used")
    return contents


def parts_in(store: Store, contents: Contents) -> dict[str, int]:
    """The models of an ensemble's steps with the versions that it names; none of any other model.

    Raises:
        ServingError: Its configuration in the store is none, or not what its hash says.
    """
    file = contents.files.get(CONFIG)
    if file is None or file.size > MOST_CONFIG:
        return {}
    text = b"".join(store.read_from(file, 0))
    if hashlib.sha256(text).hexdigest() != file.sha256:
        raise ServingError(f"{store.blob_address(file)} is not what its name says; nothing of this version was used")
    return {name: version for name, version in parts(parse(text.decode())).items() if version > 0}


def pull(store: Store, contents: Contents, repository: Path, on_progress: Progress) -> bool:
    """Have the version in `repository`; whether it was not there yet.

    It takes its place among the versions there, each of which is served under its own configuration. Nothing that is
    live changes: a running server, and a model with a history, get it by `conch rollout`.

    Args:
        store: Where from.
        contents: As `find` gives them.
        repository: The model repository, made where it does not exist.
        on_progress: As `Progress`.

    Raises:
        ServingError: A file in the store is not what its hash says, the repository has another version of this number,
            or it cannot be written. The repository is then as it was.
    """
    check_level(repository)
    model = repository / contents.model
    try:
        repository.mkdir(parents=True, exist_ok=True)
        if _is_there(model, contents):
            on_progress(contents.size)
            return False
        with _downloads(repository) as downloads:
            for file in contents.files.values():
                _download(store, file, downloads / file.sha256, on_progress)
            with locked(repository), staging(repository) as home:
                if _is_there(model, contents):
                    return False
                staged = home / contents.model
                for path, file in contents.files.items():
                    (staged / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(downloads / file.sha256, staged / path)
                sync_tree(staged)
                move_into_place(staged, model, contents.version)
            for file in contents.files.values():
                (downloads / file.sha256).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(f"cannot pull {contents.model!r} into {repository}: {reason}") from error
    return True


def _is_there(model: Path, contents: Contents) -> bool:
    if contents.version not in versions(model):
        return False
    if differs := contents.difference(read_contents(model, contents.version)):
        raise ServingError(
            f"{model.parent} has another version {contents.version} of {contents.model!r}, which differs in {differs}; "
            f"it was left alone"
        )
    return True


@contextlib.contextmanager
def _downloads(repository: Path) -> Iterator[Path]:
    """The folder of what is being pulled; one who pulls waits for the other."""
    folder = repository.resolve().parent / DOWNLOADS
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
        with contextlib.suppress(OSError):  # another pull's parts are in it
            folder.rmdir()
    finally:
        os.close(descriptor)


def _download(store: Store, file: File, target: Path, on_progress: Progress) -> None:
    """Have `file` at `target`, from where a pull before was cut off; verified by its hash."""
    if target.exists():  # the rename below came after the verification
        on_progress(file.size)
        return
    part = target.with_suffix(".part")
    digest = hashlib.sha256()
    with part.open("a+b") as stream:
        stream.seek(0)
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
        have = stream.tell()
        on_progress(have)
        if have < file.size:
            for chunk in store.read_from(file, have):
                stream.write(chunk)
                digest.update(chunk)
                on_progress(len(chunk))
    if digest.hexdigest() != file.sha256:
        part.unlink()
        raise ServingError(
            f"{store.blob_address(file)} is not what its name says: its content has the hash "
            f"{digest.hexdigest()[:12]}; nothing of this version was used"
        )
    part.rename(target)
