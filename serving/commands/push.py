"""`conch push`: versions of the model repository into a store."""

from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.markup import escape

from conch.command_line import OUT
from conch.contracts.artifacts import models_folder
from conch.contracts.ensembles import parts_of
from conch.contracts.live import config_file
from conch.contracts.versions import versions
from serving.commands.byte_progress import byte_progress
from serving.commands.run import run
from serving.errors import ServingError
from serving.repository.folder import check_repository
from serving.store.contents import local_files
from serving.store.opening import open_store
from serving.store.push import push as push_version
from serving.store.signature import read_private_key


def push(
    url: tyro.conf.Positional[str],
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    version: int | None = None,
    repository: Path | None = None,
    sign: Path | None = None,
) -> int:
    """Push proven versions of models into a store, from which other machines pull them.

    A version in a store never changes: what is there already is not sent again, and another version of the same number
    is refused. Only what passed its proof and is still what was proven is pushed.

    For example: conch push s3://bucket/models cnn --sign key.pem

    Args:
        url: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, oci://registry/name, or a folder.
            Credentials are found where the provider's own tools look for them, such as AWS_ACCESS_KEY_ID, AWS_REGION
            and AWS_ENDPOINT_URL, or what `docker login` has left.
        models: Published models; of an ensemble its parts go with it. Default: all.
        version: This version alone. Default: all versions.
        repository: The model repository. Default: artifacts/models.
        sign: An Ed25519 private key in PEM (openssl genpkey -algorithm ed25519 -out key.pem); `conch pull --public-key`
            then refuses what was changed.
    """
    repository = repository or models_folder()
    asked = _asked(repository, models, version)
    key = read_private_key(sign) if sign else None
    store = open_store(url, make=True)
    total = sum(
        file.stat().st_size for name, number in asked for file in local_files(repository / name, number).values()
    )
    with byte_progress("Pushing", total) as on_progress:
        for name, number in asked:
            new = push_version(store, repository / name, number, key, on_progress)
            said = "" if new else " is there already" + (", now signed" if key else "")
            OUT.print(f"{escape(name)} version {number}{said}", highlight=False)
    return 0


def _asked(repository: Path, models: Sequence[str], version: int | None) -> list[tuple[str, int]]:
    """Model and version of all that is to be pushed."""
    there = check_repository(repository)
    found = []
    for name in models or there:
        numbers = versions(repository / name)
        if name not in there or not numbers or (version is not None and version not in numbers):
            what = f"version {version} of " if version is not None and numbers else ""
            has = f"versions {', '.join(map(str, numbers))}" if numbers else ", ".join(there)
            raise ServingError(f"{repository} has no {what}{name!r}; it has: {has}")
        for number in (number for number in numbers if version in (None, number)):
            # Its parts come first: who finds the whole in the store finds them.
            found += [*parts_of(config_file(repository / name, number)).items(), (name, number)]
    return list(dict.fromkeys(found))


def main(words: Sequence[str]) -> int:
    """Run `conch push` with these words; the exit code."""
    return run(lambda: tyro.cli(push, prog="conch push", args=words), stopped="stopped; push again to go on")
