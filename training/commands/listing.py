"""`conch train list`: the checkpoints at hand, whole or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from conch import command_line
from conch.command_line import OUT, print_json
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.whole import sweep
from training.checkpoints.manifest import read_manifest

HELP = """Show all checkpoints in artifacts/checkpoints: data, score with its floor, age, size and hash of the weights.
With --recipes, what there is to train instead.

The weights are read and compared with their hash. Exit code 1 where a checkpoint is damaged.

examples:
  conch train list
  conch train list --recipes
  conch train list --json | jq -r '.[] | select(.damage) | .name'
"""


@dataclass(frozen=True)
class Listed:
    """One checkpoint folder; all but the name is None where the manifest cannot be read."""

    name: str
    damage: str | None = None
    """Why it cannot be used."""
    data: str | None = None
    score: list[dict[str, Any]] | None = None
    """The manifest's: name, value, unit, higher_is_better and floor of each metric; the first leads. Empty where it is
    missing."""
    score_missing: str | None = None
    """Why."""
    created: str | None = None
    """ISO 8601, UTC."""
    sha256: str | None = None
    """Of the weights."""
    bytes: int | None = None
    """Of the weights."""
    run: dict[str, Any] | None = None
    """The manifest's; None in checkpoints from before it was kept."""
    examples_per_second: float | None = None


def main(words: Sequence[str]) -> int:
    """Run `conch train list` with these words; the exit code."""
    return command_line.run(lambda: tyro.cli(show, prog="conch train list", description=HELP, args=words))


def show(json: bool = False, recipes: bool = False) -> int:
    """Show all checkpoints; 1 where one is damaged.

    Args:
        json: For programs: a list of objects on the standard output.
        recipes: Show the shipped recipes instead: what each is and serves, and the floors on its own data.
    """
    if recipes:
        from training.commands.recipe_listing import show_recipes

        return show_recipes(json)
    folder = artifacts_folder() / "checkpoints"
    try:
        sweep(folder)  # a checkpoint that a killed writer left out of sight is brought back
        found = list_checkpoints(folder)
    except OSError as error:
        raise ConchError(f"cannot read {folder}: {error.strerror}") from error
    if json:
        print_json([asdict(one) for one in found])
    elif found:
        OUT.print(_table(found))
        for one in found:
            if one.damage:
                OUT.print(f"{one.name} is damaged: {one.damage}", markup=False, highlight=False, soft_wrap=True)
            elif one.score_missing:
                line = f"{one.name} has no score: {one.score_missing}; conch train RECIPE --score-only scores it"
                OUT.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        OUT.print(f"no checkpoints in {folder}; make one with: conch train cnn", highlight=False)
    return 1 if any(one.damage for one in found) else 0


def list_checkpoints(folder: Path) -> list[Listed]:
    """The checkpoints in `folder` by name; none where there is no such folder.

    Raises:
        OSError: the folder cannot be read.
    """
    if not folder.exists():
        return []
    return [_listed(one) for one in sorted(folder.iterdir()) if one.is_dir() and not one.name.startswith(".")]


def _listed(folder: Path) -> Listed:
    try:
        manifest = read_manifest(folder.name)
        return Listed(
            name=folder.name,
            damage=_damage(folder, manifest),
            data=str(manifest["data"]["name"]),
            score=[{**metric, "value": float(metric["value"])} for metric in manifest["score"]],
            score_missing=manifest.get("score_missing"),
            created=datetime.fromisoformat(manifest["created"]).isoformat(),
            sha256=str(manifest["sha256"]["weights"]),
            bytes=_bytes(folder),
            run=manifest.get("run"),
            examples_per_second=manifest.get("examples_per_second"),
        )
    except ConchError as error:
        return Listed(folder.name, str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Listed(folder.name, f"its manifest.json is not one of a checkpoint ({type(error).__name__}: {error})")


def _bytes(folder: Path) -> int | None:
    """Size of the weights, None where there are none."""
    try:
        return (folder / "weights.safetensors").stat().st_size
    except OSError:
        return None


def _damage(folder: Path, manifest: dict[str, Any]) -> str | None:
    try:
        found = sha256_of_file(folder / "weights.safetensors")
    except OSError as error:
        return f"weights.safetensors: {error.strerror}"
    wanted = manifest["sha256"]["weights"]
    return (
        None if found == wanted else f"the sha256 of its weights is {found[:12]}..., its manifest says {wanted[:12]}..."
    )


def _table(found: list[Listed]) -> Table:
    table = Table()
    for column in ("checkpoint", "data", "score", "age", "weights", "size", "run"):
        table.add_column(
            column,
            justify="right" if column in ("age", "size") else "left",
            no_wrap=column in ("age", "weights", "size"),
        )
    for one in found:
        table.add_row(
            f"[red]{one.name}[/]" if one.damage else one.name,
            one.data or "[red]damaged[/]",
            _score(one.score) if one.score else "[yellow]missing[/]" if one.score_missing else "",
            _age(one.created) if one.created else "",
            "[red]damaged[/]" if one.damage else (one.sha256 or "")[:12],
            _size(one.bytes),
            _unusual(one.run),
        )
    return table


def _score(score: list[dict[str, Any]]) -> str:
    lead = score[0]
    shown = f"{lead['name']} {lead['value']:.4g} {lead.get('unit') or ''}".rstrip()
    floor = lead.get("floor")
    if floor is None:
        return shown
    return f"{shown} ({'at least' if lead.get('higher_is_better', True) else 'at most'} {floor:g})"


def _age(created: str) -> str:
    moment = datetime.fromisoformat(created)
    seconds = (datetime.now(UTC) - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count > 1)}"
    return "now"


def _size(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def _unusual(run: dict[str, Any] | None) -> str:
    """What a reader would not expect: nothing for one process that computes in 32 bits on a CPU."""
    run = run or {}
    said = [
        run["accelerator"] if run.get("accelerator", "cpu") != "cpu" else "",
        f"{run['devices'] * run.get('nodes', 1)} processes" if run.get("devices", 1) * run.get("nodes", 1) > 1 else "",
        run["precision"] if run.get("precision", "32-true") != "32-true" else "",
        "compiled" if run.get("compile") else "",
    ]
    return ", ".join(word for word in said if word)
