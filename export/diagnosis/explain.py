"""Grid, budget and culprit of what a recipe serves, on the terminal."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from conch.contracts.errors import ConchError
from conch.contracts.published import manifest_of
from conch.contracts.versions import latest_version
from export.proof.cells import Grid

if TYPE_CHECKING:
    from export.proof.prove import Proof
    from training.served import Served


def explain(console: Console, name: str, exporter: str | None) -> list[dict[str, Any]]:
    """Show grid, budget and culprit of every model that a recipe serves; the same for programs, as docs/json.md says.

    Of what was published without a recipe, its own proof is shown: neither module nor weights are at hand.

    Args:
        console: where it is shown.
        name: a recipe as training takes it, or a published model.
        exporter: as `convert_and_compare` takes it; None for what is published.

    Raises:
        ConchError: there is no checkpoint, no published version, or one of other weights.
    """
    from export.publication.pipeline import repository_folder

    published = manifest_of(repository_folder(), name)
    if "source" in published:
        return _as_published(console, repository_folder(), name, exporter)
    recipe = str(published.get("recipe", name))
    from export.commands.documents import proof_document
    from export.commands.tables import print_proof
    from export.proof.prove import convert_and_compare
    from training.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(recipe)
    documents = []
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
        documents.append(_document(served.name, about, not proof.failures) | proof_document(proof))
    return documents


def _document(name: str, about: str, passed: bool) -> dict[str, Any]:
    return {"model": name, "about": about, "passed": passed}


def _as_published(console: Console, repository: Path, name: str, exporter: str | None) -> list[dict[str, Any]]:
    from export.commands.tables import print_grid

    version = latest_version(repository, name)
    assert version is not None
    parity, source = json.loads((version / "parity.json").read_text()), manifest_of(repository, name)["source"]
    if exporter is not None:
        raise ConchError(
            f"{name} was published without a recipe: there is nothing to convert anew; give --exporter to the command "
            "that exports it"
        )
    if parity.get("runs"):
        batches = (
            ", ".join(str(run["batch"]) for run in parity["runs"] if run.get("batch")) or "none: it has no batch axis"
        )
        console.print(
            f"[bold]{escape(name)}[/]: {escape(str(version))} is an ONNX file that was published as it came; there is "
            f"no PyTorch module to compare it with. It was shown to run; batches {batches}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        return [_document(name, str(version), bool(parity["passed"])) | {"parity": parity}]
    about = f"the proof of its export from {source.get('module') or source.get('folder', 'a module')}"
    if reference := source.get("reference"):
        about = f"its proof against {reference['file']}"
    where = f"{version}, {about}"
    console.print(f"[bold]{escape(name)}[/]: {escape(where)}", highlight=False, soft_wrap=True)
    grid = Grid.from_json(parity)
    print_grid(console, grid)
    return [_document(name, where, grid.passed) | {"parity": parity}]


def _compare(served: Served, file: Path) -> Proof:
    """The proof of a file that is there already."""
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
    from export.publication.pipeline import repository_folder

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
