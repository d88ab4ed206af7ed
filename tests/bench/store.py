"""What a benchmark found, as a JSON file that is kept between runs: written whole, and read whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from conch.contracts.errors import ConchError
from conch.contracts.whole import write_whole

FORMAT = 1

Result = TypeVar("Result")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Put `content` in the place of the file, whole or not at all."""
    write_whole(path, (json.dumps({"format": FORMAT, **content}, indent=2) + "\n").encode())


def read(path: Path, make: Callable[[dict[str, Any]], Result], command: str) -> Result | None:
    """What `make` makes of the file's content; None where there is no file.

    Raises:
        ConchError: the file is damaged, and `command` makes it again.
    """
    try:
        content = json.loads(path.read_bytes())
        if (found := content.pop("format", FORMAT)) != FORMAT:
            raise ValueError(f"format {found}, known is {FORMAT}")
        return make(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConchError(
            f"{path} is damaged or cannot be read ({type(error).__name__}: {error}); "
            f"delete it and make it again: {command}"
        ) from error
