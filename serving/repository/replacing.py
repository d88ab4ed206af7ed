"""Change a published model's configuration: a reader finds the old text or the new one, never a half."""

import contextlib
import hashlib
import json
from pathlib import Path

from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.versions import versions
from conch.contracts.whole import write_whole


def replace_config(model: Path, text: str) -> None:
    """Make `text` the config.pbtxt of the model in the folder `model`.

    Where the newest version's manifest has the hash of the text before, it gets that of the new one: the chain of
    hashes holds for what this project changes, and breaks for what somebody else does.

    The caller holds the repository's lock (`locking.locked`), since what it read to make `text` must still be so.

    Raises:
        OSError: It cannot be written; the configuration is as it was, or as it is to be.
    """
    file = model / "config.pbtxt"
    before = sha256_of_file(file)
    write_whole(file, text.encode())
    manifest = model / str(max(versions(model), default=0)) / "manifest.json"
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # a model published by other means
        said = json.loads(manifest.read_text(encoding="utf-8"))
        if said["sha256"]["config"] == before:
            said["sha256"]["config"] = hashlib.sha256(text.encode()).hexdigest()
            write_whole(manifest, (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())
