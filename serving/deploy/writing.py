"""Write what was made, and say what differs from what would be made now."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from conch.contracts.whole import write_whole
from serving.deploy.manifests import HEADER, Tree
from serving.errors import ServingError

SHOWN = 60


def write(tree: Tree, folder: Path) -> list[Path]:
    """Write all files; those of an earlier call that are not made any more are removed. The files that changed.

    Raises:
        ServingError: The folder cannot be written to.
    """
    changed = []
    try:
        for path, text in tree.items():
            file = folder / path
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                write_whole(file, text.encode())
                changed.append(file)
        for path in left_over(tree, folder):
            (folder / path).unlink()
            changed.append(folder / path)
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}") from error
    return changed


def left_over(tree: Tree, folder: Path) -> list[str]:
    """The files of an earlier call that are not made any more; files of others are left alone."""
    there = [file for file in sorted(folder.rglob("*.yaml")) if file.is_file()]
    paths = {file.relative_to(folder).as_posix(): file for file in there}
    return [path for path, file in paths.items() if path not in tree and file.read_text("utf-8").startswith(HEADER)]


def drift(tree: Tree, folder: Path) -> Iterator[str]:
    """What differs in `folder` from `tree`, a line each: file, field, what is there and what would be."""
    for path, wanted in tree.items():
        try:
            there = (folder / path).read_text(encoding="utf-8")
        except FileNotFoundError:
            yield f"{path}: is not there"
            continue
        except (OSError, UnicodeDecodeError) as error:
            yield f"{path}: cannot be read ({error})"
            continue
        if there != wanted:
            yield from _differences(path, there, wanted)
    for path in left_over(tree, folder):
        yield f"{path}: would not be written any more"


def _differences(path: str, there: str, wanted: str) -> Iterator[str]:
    if not path.endswith((".yaml", ".yml")):
        yield f"{path}: has another text"
        return
    try:
        found = [*_fields(list(yaml.safe_load_all(there)), list(yaml.safe_load_all(wanted)), "")]
    except yaml.YAMLError as error:
        yield f"{path}: is no YAML ({' '.join(str(error).split())[:SHOWN]})"
        return
    yield from (f"{path}: {line}" for line in found or ["comments or order differ"])


def _fields(there: Any, wanted: Any, place: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in there if key not in wanted)]:
            yield from _fields(there.get(key), wanted.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(there, list) and isinstance(wanted, list) and len(there) == len(wanted):
        for number, (one, other) in enumerate(zip(there, wanted, strict=True)):
            # A file of one document is that document.
            inner = place if not place and len(there) == 1 else f"{place}[{_name(other, number)}]"
            yield from _fields(one, other, inner)
    elif there != wanted:
        yield f"{place} is {_shown(there)}, would be {_shown(wanted)}"


def _name(item: Any, number: int) -> str | int:
    """How an item of a list is called: by its name, where it has one."""
    return item["name"] if isinstance(item, dict) and isinstance(item.get("name"), str) else number


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
