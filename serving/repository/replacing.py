"""Change a published model's configuration: a reader finds the old text or the new one, never a half."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from conch.contracts.versions import versions


def replace_config(model: Path, text: str) -> None:
    """Make `text` the config.pbtxt of the model in the folder `model`.

    Where the newest version's manifest has the hash of the text before, it gets that of the new one: the chain of
    hashes holds for what this project changes, and breaks for what somebody else does.

    Raises:
        OSError: It cannot be written; the configuration is as it was, or as it is to be.
    """
    file = model / "config.pbtxt"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    replace_file(file, text.encode())
    manifest = model / str(max(versions(model), default=0)) / "manifest.json"
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # a model published by other means
        said = json.loads(manifest.read_text(encoding="utf-8"))
        if said["sha256"]["config"] == before:
            said["sha256"]["config"] = hashlib.sha256(text.encode()).hexdigest()
            replace_file(manifest, (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())


def replace_file(file: Path, data: bytes) -> None:
    """Put `data` in the place of `file`, which nobody sees half-written; its folder is made where it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
