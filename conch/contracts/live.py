"""Which version of a model is live: `history.jsonl` beside its versions, a decision a line; the last one holds.

What a client gets that names no version is the highest one that a server has loaded, so versions above the live one are
not served. A model without the file serves its newest. The configuration of a version that is not the newest is kept in
`configs/VERSION.pbtxt`, its labels in `configs/VERSION.labels.txt`: config.pbtxt belongs to the newest.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from conch.contracts.ensembles import parts_of, whole_of
from conch.contracts.errors import ConchError
from conch.contracts.versions import versions
from conch.contracts.whole import write_whole

FILE = "history.jsonl"
CONFIG, LABELS = "config.pbtxt", "labels.txt"
FOLDER_OF_CONFIGS = "configs"

How = Literal["rollout", "rollback", "taken back"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Decision:
    """That a version went live, or stays so because another was tried before clients and taken back."""

    version: int
    before: int | None
    """The version that was live until then; None where none was served."""
    how: How
    why: str = ""
    """What the person who decided says of it."""
    proof: dict[str, Any] = field(default_factory=dict)
    """What was shown on the server before clients got the version."""
    at: str = field(default_factory=_now)
    """UTC, ISO 8601."""
    tried: int | None = None
    """The version that was taken back."""


def read_history(model: Path) -> list[Decision]:
    """All decisions about the model in this folder, the oldest first; none where there is no file.

    Raises:
        ConchError: the file cannot be read; with its line.
    """
    file = model / FILE
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConchError(f"cannot read {file}: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Decision(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ConchError(f"{file}, line {number}: no decision ({error}); correct or remove the line") from error
    return found


def decide(model: Path, decision: Decision) -> None:
    """Write `decision` behind those before it: a reader finds all of it or nothing. One writer at a time: what another
    that was killed had begun is removed.

    Raises:
        OSError: it cannot be written.
    """
    for begun in model.glob(f".{FILE}-*"):
        begun.unlink()
    lines = [*read_history(model), decision]
    text = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines)
    write_whole(model / FILE, text.encode())


def live_version(model: Path) -> int | None:
    """The version that a client gets who names none: the decided one, else the newest; None where there is none.

    Where the decided one was taken away, the highest below it is. A part of an ensemble has no history of its own: its
    version is the one that the live version of the whole names.

    Raises:
        ConchError: the history cannot be read.
    """
    there = versions(model)
    if (whole := whole_of(model)) is not None:
        return _named_by(model.parent / whole, model.name, there)
    history = read_history(model)
    if not history:
        return max(there, default=None)
    return max((version for version in there if version <= history[-1].version), default=max(there, default=None))


def _named_by(whole: Path, part: str, there: list[int]) -> int | None:
    live = live_version(whole)
    named = parts_of(config_file(whole, live)).get(part) if live else None
    return named if named in there else max(there, default=None)


def live_folder(model: Path) -> Path | None:
    """The folder of the live version; None where there is none. Raises as `live_version`."""
    live = live_version(model)
    return None if live is None else model / str(live)


def config_file(model: Path, version: int) -> Path:
    """The configuration that `version` is served under."""
    kept = model / FOLDER_OF_CONFIGS / f"{version}.pbtxt"
    return kept if version != max(versions(model), default=version) and kept.exists() else model / CONFIG


def labels_file(model: Path, version: int) -> Path:
    """The labels that `config_file` may name; there may be none."""
    config = config_file(model, version)
    return model / LABELS if config.name == CONFIG else config.with_name(f"{version}.{LABELS}")
