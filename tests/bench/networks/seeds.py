"""Train a network by several seeds, each in an artifacts folder of its own, and keep what each scored."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from conch.command_line import OUT
from conch.contracts.artifacts import artifacts_folder
from training.catalogue import find_recipe
from training.loop.fit import train


def spread(name: str, seeds: Iterable[int]) -> dict[str, list[dict[str, Any]]]:
    """By seed the score; one below a floor counts as it is, for the page says so.

    The checkpoints that a network reads are those at hand.
    """
    checkpoints = (artifacts_folder() / "checkpoints").resolve()
    found = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="conch-seed-") as folder, pytest.MonkeyPatch.context() as patch:
            place = Path(folder) / "checkpoints"
            place.mkdir()
            for other in checkpoints.glob("[!.]*"):
                if other.name != name:
                    (place / other.name).symlink_to(other)
            patch.setenv("CONCH_ARTIFACTS", folder)
            recipe = replace(find_recipe(name).for_data(), seed=seed)
            _, metrics = train(recipe, recipe.dataset(), hold_floors=False)
        OUT.print(f"{name}, seed {seed}: {', '.join(f'{one.name} {one}' for one in metrics)}", highlight=False)
        found[str(seed)] = [asdict(metric) for metric in metrics]
    return found
