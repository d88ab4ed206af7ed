"""More held-out examples: what an export with its proof and its score costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.growth.curve import Curve
from tests.support.precision_recipe import write_bright_recipe

EXAMPLES = (1_000, 10_000, 100_000, 300_000)
TRAINED = 128


def exports(tell: Callable[[str], None]) -> list[Curve]:
    """Seconds of `conch export` of a small convolutional network, by the examples that judge it."""
    seconds = []
    for examples in EXAMPLES:
        tell(f"an export that is judged by {examples:,} examples")
        with tempfile.TemporaryDirectory(prefix="conch-growth-") as own:
            recipe = write_judged_recipe(Path(own), examples)
            _conch(own, "train", str(recipe))
            began = time.perf_counter()
            _conch(own, "export", str(recipe))
            seconds.append(time.perf_counter() - began)
    return [Curve("export", "held-out examples, 8x8 pixels", "s", EXAMPLES, tuple(seconds))]


def write_judged_recipe(folder: Path, examples: int) -> Path:
    """The small convolutional recipe, with so many held-out examples; its first 32 are the golden ones."""
    recipe = write_bright_recipe(folder)
    text = recipe.read_text()
    for old, new in (
        ("160", str(TRAINED + examples)),
        ('"held_out": 32', f'"held_out": {examples}'),
        (f'examples={{"image": data.images[{TRAINED}:]}}', f'examples={{"image": data.images[{TRAINED}:][:32]}}'),
    ):
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)
    return recipe


def _conch(artifacts: str, *words: str) -> None:
    environment = os.environ | {"CONCH_ARTIFACTS": artifacts}
    subprocess.run(
        [sys.executable, "-m", "conch", *words],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
