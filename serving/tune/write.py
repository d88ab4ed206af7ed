"""Put the winner's settings into the published configuration: whole or not at all."""

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

from conch.contracts.whole import write_whole
from serving.errors import ServingError
from serving.repository.configuration import parse, render
from serving.repository.locking import locked
from serving.repository.queueing import bound_queue
from serving.repository.replacing import replace_config
from serving.tune.candidates import Candidate


def write_winner(
    repository: Path,
    winner: Candidate,
    measured: str,
    version: Path,
    reason: str,
    promised_s: float | None = None,
    answers_per_s: float | None = None,
) -> Path:
    """Write `winner` into its model's config.pbtxt, everything else in it kept; the path of the file.

    The version's manifest records the hash of the new configuration, and what was found, so that the chain of hashes
    from data to configuration still holds.

    Args:
        measured: The text of config.pbtxt that the search began from.
        version: The folder of the newest version.
        reason: What the comparison said.
        promised_s: The promised p99, in seconds; None where nothing is promised.
        answers_per_s: Requests a second that the winner was seen to serve: with the promise the length of its queue.

    Raises:
        ServingError: The configuration was changed meanwhile, or cannot be written.
    """
    file = repository / winner.model / "config.pbtxt"
    try:
        with locked(repository):
            if file.read_text(encoding="utf-8") != measured:
                raise ServingError(f"{file} was changed since it was measured: nothing is written; run tune again")
            before = parse(measured)
            config = winner.apply(before)
            bound_queue(config, promised_s, answers_per_s)
            replace_config(file.parent, render(config))
            _record(version / "manifest.json", Candidate.of(before), winner, reason)
    except (OSError, ValueError) as error:
        raise ServingError(f"cannot write {file}: {error}") from error
    return file


def _record(manifest_file: Path, before: Candidate, winner: Candidate, reason: str) -> None:
    """Say in the version's manifest, where it has one, that it was tuned."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):  # a model published by other means
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        manifest["tuned"] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "from": before.as_json(),
            "to": winner.as_json(),
            "found": reason,
        }
        write_whole(manifest_file, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
