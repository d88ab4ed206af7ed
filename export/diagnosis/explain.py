"""Grid, budget and culprit of what a recipe serves, on the terminal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from conch.contracts.errors import ConchError

if TYPE_CHECKING:
    from export.proof.prove import Proof
    from training.served import Served


def explain(console: Console, recipe: str, exporter: str | None) -> bool:
    """Show grid, budget and culprit of every model that a recipe serves; whether all of them are right.

    Raises:
        ConchError: there is no checkpoint, no published version, or one of other weights.
    """
    from export.commands.tables import print_proof
    from export.proof.prove import convert_and_compare
    from training.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(recipe)
    right = True
    for served in checkpoint.recipe.served(checkpoint.trained, checkpoint.data):
        with console.status(escape(served.name)), tempfile.TemporaryDirectory(prefix="conch-explain-") as folder:
            if exporter is None:
                file = _published(checkpoint.manifest["sha256"]["weights"], served.name, recipe)
                proof, about = _compare(served, file), str(file.parent)
            else:
                proof = convert_and_compare(served, Path(folder) / "model.onnx", exporter)  # type: ignore[arg-type]
                about = f"a new conversion by the {exporter} exporter"
        console.print(f"[bold]{escape(served.name)}[/]: {escape(about)}", highlight=False)
        print_proof(console, proof)
        right = right and not proof.failures
    return right


def _compare(served: Served, file: Path) -> Proof:
    """The proof of a file that is there already."""
    import json

    from export.proof.chain import prove_chain
    from export.proof.parity import parity_grid
    from export.proof.prove import compared
    from export.proof.runtime import onnx_predict

    manifest = json.loads((file.parent / "manifest.json").read_text())
    grid = parity_grid(served, file)
    chain = prove_chain(served, onnx_predict(file)) if served.states and grid.passed else None
    return compared(served, file, manifest.get("exporter", "dynamo"), grid, chain)


def _published(weights: str, name: str, recipe: str) -> Path:
    """The newest published ONNX file of a model, if it was made from these weights."""
    import json

    from export.publication.pipeline import repository_folder
    from serving.repository.publish import latest_version

    again = f"make it with: conch export {recipe}"
    version = latest_version(repository_folder(), name)
    if version is None:
        raise ConchError(f"{name}: nothing is published in {repository_folder()}; {again}")
    try:
        made_from = json.loads((version / "manifest.json").read_text())["sha256"]["weights"]
    except (OSError, ValueError, KeyError) as error:
        raise ConchError(f"{version / 'manifest.json'} cannot be read ({error}); {again}") from error
    if made_from != weights:
        raise ConchError(f"{version} was made from other weights than the checkpoint holds now; {again}")
    return version / "model.onnx"
