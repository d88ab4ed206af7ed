"""Write docs/networks.md from what was trained, exported and scored.

    python -m tests.bench.networks                     every network that is published
    python -m tests.bench.networks unet
    python -m tests.bench.networks unet --seeds 0 1 2  train it anew by each seed first, for the spread of its score
    python -m tests.bench.networks --int8              ask the gate of each what int8 would be, too; minutes

`make networks` ends with it. What a network reached is kept in docs/networks/NAME.json, so that one can be
renewed alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from conch import command_line
from conch.command_line import OUT
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.versions import latest_version
from tests.bench.networks.int8 import try_int8
from tests.bench.networks.page import write_page
from tests.bench.networks.results import gather, keep, read_results
from tests.bench.networks.seeds import spread
from training.catalogue import NETWORKS, named


@dataclass(frozen=True)
class Settings:
    """What is written, and where."""

    networks: Annotated[tuple[str, ...], tyro.conf.Positional] = ("networks",)
    """Names; networks: all that are published."""
    seeds: tuple[int, ...] = ()
    """Train by each of these and keep the scores."""
    int8: bool = False
    """Try each in int8, and keep what the gate says."""
    docs: Path = Path("docs")
    """The folder of networks.md and networks/."""


def run(settings: Settings) -> int:
    """Renew what is asked for, and write the page; the exit code."""
    asked = [name for word in settings.networks for name in named(word)]
    models = artifacts_folder() / "models"
    for name in asked:
        if latest_version(models, name) is None and settings.networks == ("networks",):
            OUT.print(f"{name} is not published: left as it is", highlight=False)
            continue
        seeds = spread(name, settings.seeds) if settings.seeds else None
        int8 = try_int8(name) if settings.int8 else None
        keep(gather(name, settings.docs, seeds, int8), settings.docs)
    write_page(settings.docs / "networks.md", read_results(NETWORKS, settings.docs))
    OUT.print(f"written: {settings.docs / 'networks.md'}", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(command_line.run(lambda: run(tyro.cli(Settings, description=__doc__))))
