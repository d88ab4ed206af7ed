"""`conch pull`: versions of models from a store into the model repository."""

from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.markup import escape

from conch.command_line import OUT
from conch.contracts.artifacts import models_folder
from serving.commands.byte_progress import byte_progress
from serving.commands.run import run
from serving.errors import ServingError
from serving.rollout.going_live import how_to_go_live
from serving.store.contents import Contents
from serving.store.opening import open_store
from serving.store.pull import find, parts_in
from serving.store.pull import pull as pull_version
from serving.store.signature import read_public_key
from serving.store.store import Store


def pull(
    url: tyro.conf.Positional[str],
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    version: int | None = None,
    repository: Path | None = None,
    public_key: Path | None = None,
) -> int:
    """Pull versions of models from a store that `conch push` filled: verified by their hashes, whole or not at all.

    A pull that was cut off goes on where it was. What is live does not change: the next start serves the newest version
    of a model without a history, and `conch rollout` makes one live on a running server.

    For example: conch pull s3://bucket/models cnn --version 3 --public-key key.pub

    Args:
        url: As `conch push` takes it.
        models: Models of the store; of an ensemble its parts come with it. Default: all.
        version: This version. Default: the newest of each model.
        repository: The model repository, made where it does not exist. Default: artifacts/models.
        public_key: An Ed25519 public key in PEM (openssl pkey -in key.pem -pubout -out key.pub): what is not signed by
            its private key is refused.
    """
    repository = repository or models_folder()
    key = read_public_key(public_key) if public_key else None
    store = open_store(url)
    found: dict[tuple[str, int], Contents] = {}
    for name, number in _asked(store, models, version):
        contents = find(store, name, number, key)
        # Its parts come first: a server that sees the whole sees them.
        found |= {part: find(store, *part, key) for part in parts_in(store, contents).items()}
        found[name, number] = contents
    with byte_progress("Pulling", sum(contents.size for contents in found.values())) as on_progress:
        for contents in found.values():
            new = pull_version(store, contents, repository, on_progress)
            said = "" if new else " is there already"
            OUT.print(f"{escape(contents.model)} version {contents.version}{said}", highlight=False)
            if new and (step := how_to_go_live(repository / contents.model / str(contents.version))):
                OUT.print(escape(step), highlight=False)
    return 0


def _asked(store: Store, models: Sequence[str], version: int | None) -> list[tuple[str, int]]:
    """Model and version of all that is to be pulled."""
    there = store.versions()
    if not there:
        raise ServingError(f"{store.url} has no models; fill it with: conch push {store.url}")
    found = []
    for name in models or there:
        if name not in there:
            raise ServingError(f"{store.url} has no model {name!r}; it has: {', '.join(there)}")
        number = there[name][-1] if version is None else version
        if number not in there[name]:
            raise ServingError(
                f"{store.url} has no version {number} of {name!r}; it has: {', '.join(map(str, there[name]))}"
            )
        found.append((name, number))
    return found


def main(words: Sequence[str]) -> int:
    """Run `conch pull` with these words; the exit code."""
    return run(lambda: tyro.cli(pull, prog="conch pull", args=words), stopped="stopped; pull again to go on")
