"""Put the winner's settings into the published configuration: whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from serving.configuration import parse, render
from serving.errors import ServingError
from serving.tune.candidates import Candidate


def write_winner(repository: Path, winner: Candidate, measured: str, version: Path, reason: str) -> Path:
    """Write `winner` into its model's config.pbtxt, everything else in it kept; the path of the file.

    The version's manifest records the hash of the new configuration, and what was found, so that the chain of hashes
    from data to configuration still holds.

    Args:
        measured: The text of config.pbtxt that the search began from.
        version: The folder of the newest version.
        reason: What the comparison said.

    Raises:
        ServingError: The configuration was changed meanwhile, or cannot be written.
    """
    file = repository / winner.model / "config.pbtxt"
    try:
        if file.read_text(encoding="utf-8") != measured:
            raise ServingError(f"{file} was changed since it was measured: nothing is written; run tune again")
        before = parse(measured)
        text = render(winner.apply(before))
        manifest_file = version / "manifest.json"
        manifest = json.loads(manifest_file.read_text(encoding="utf-8")) if manifest_file.exists() else None
        _replace(file, text)
        if isinstance(manifest, dict):
            manifest.setdefault("sha256", {})["config"] = hashlib.sha256(text.encode()).hexdigest()
            manifest["tuned"] = {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "from": Candidate.of(before).as_json(),
                "to": winner.as_json(),
                "found": reason,
            }
            _replace(manifest_file, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    except (OSError, ValueError) as error:
        raise ServingError(f"cannot write {file}: {error}") from error
    return file


def _replace(file: Path, text: str) -> None:
    """Write beside, sync, rename; outside the repository's folders, where Triton may look at any time."""
    outside = file.parents[2] if file.name == "config.pbtxt" else file.parents[3]
    home = outside if outside.stat().st_dev == file.stat().st_dev else file.parent
    descriptor, name = tempfile.mkstemp(prefix=".tune-", dir=home)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as part:
            part.write(text)
            part.flush()
            os.fsync(part.fileno())
        shutil.copymode(file, name)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
