"""Turn a checkpoint into a proven ONNX file and publish it in artifacts/models.

The proof runs ONNX Runtime against PyTorch on a grid of batches, lengths and inputs, and compares the recipe's score
of both. Exit code 0 only when all of it passed; otherwise nothing is published.

examples:
  conch export cnn
  conch export resnet --exporter torchscript
  conch export path/to/mine.py
  conch export all --if-changed
  conch export networks --if-changed
  conch export resnet --precision int8
  conch export resnet --triton 24.04
  conch export explain resnet   (how exact it is, and which node is wrong if one is)
  conch export module --help    (any torch.nn.Module, without a recipe)
  conch export pretrained --help  (a downloaded transformers folder)
  conch export onnx --help      (an existing ONNX file in int8, int4 or fp16)
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tyro

from conch import command_line
from conch.command_line import ERR, out, print_json
from export.commands.precision_choices import PrecisionChoices, order_of, refuse_without_precision
from serving.onnx_files.releases import OLDEST
from training.catalogue import named

if TYPE_CHECKING:
    from training.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Choices(PrecisionChoices):
    """What is exported, and how."""

    recipe: tyro.conf.Positional[str]
    """One of the shipped recipes, all (the five of the demo), networks (all others), or the path of a .py file with a
    Recipe."""
    exporter: Literal["auto", "dynamo", "torchscript"] = "auto"
    """auto: dynamo, and torchscript where dynamo's file fails the proof."""
    if_changed: bool = False
    """Do nothing where the newest version was made from the same weights, code and versions."""
    precision: Literal["fp32", "fp16", "int8", "int4"] = "fp32"
    """What is published as MODEL_fp16, MODEL_int8 or MODEL_int4, where the recipe's score allows it."""
    triton: str = OLDEST
    """Oldest Triton release that has to load the file; it decides opset and IR version."""
    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def main(words: Sequence[str] | None = None) -> int:
    """Run `conch export` with these words; the exit code."""
    words = sys.argv[1:] if words is None else list(words)
    if words[:1] == ["module"]:
        from export.commands.module import main as export_module

        return export_module(words[1:])
    if words[:1] == ["pretrained"]:
        from export.commands.pretrained import main as export_pretrained

        return export_pretrained(words[1:])
    if words[:1] == ["onnx"]:
        from export.commands.onnx_file import main as export_onnx

        return export_onnx(words[1:])
    if words[:1] == ["explain"]:
        from export.commands.explain import main as explain

        return explain(words[1:])
    choices = tyro.cli(Choices, prog="conch export", description=__doc__, args=words)
    return command_line.run(lambda: export_all(choices), stopped="stopped; nothing half-written was left")


def export_all(choices: Choices) -> int:
    """Export each recipe that is meant; 1 at the first that is refused."""
    export_one = _export_one if choices.precision == "fp32" else _export_variant
    if choices.precision == "fp32":
        refuse_without_precision(choices)
    documents: list[dict[str, Any]] = []
    try:
        return 0 if all(export_one(name, choices, documents) for name in named(choices.recipe)) else 1
    finally:  # what was exported before an error was exported
        if choices.json:
            print_json(documents)


def _export_one(name: str, choices: Choices, documents: list[dict[str, Any]]) -> bool:
    from export.commands.documents import exported_document, failure_document, up_to_date_document
    from export.commands.progress import paced
    from export.commands.tables import print_exported, print_failure
    from export.publication.pipeline import ProofFailed, export_checkpoint, repository_folder
    from export.publication.up_to_date import is_up_to_date
    from serving.onnx_files.releases import find_release
    from training.checkpoints.checkpoint import load_checkpoint

    screen, exporter = out(choices.json), None if choices.exporter == "auto" else choices.exporter
    release = find_release(choices.triton)
    checkpoint = load_checkpoint(name)
    _remark_on_newer_weights(checkpoint, name)
    if choices.if_changed and is_up_to_date(checkpoint, repository_folder(), exporter, release):
        screen.print(f"{checkpoint.recipe.name()}: up to date")
        documents.append(up_to_date_document(checkpoint.recipe.name()))
        return True
    started = time.perf_counter()
    try:
        with paced(screen, checkpoint.recipe.name()) as pace:
            results = export_checkpoint(checkpoint, exporter, pace, release)
    except ProofFailed as failed:
        print_failure(screen, failed)
        documents.append(failure_document(checkpoint.recipe.name(), failed))
        command_line.fail(str(failed))
        return False
    for exported in results:
        print_exported(screen, exported, time.perf_counter() - started)
        documents.append(exported_document(exported))
    return True


def _remark_on_newer_weights(checkpoint: "Checkpoint", name: str) -> None:
    """Say where a later training is not what is exported."""
    from training.checkpoints.manifest import how_to_score, unscored

    recipe = checkpoint.recipe.name()
    if unscored(recipe):
        said = f"older weights are exported: {how_to_score(recipe, name)}"
        ERR.print(said, markup=False)


def _export_variant(name: str, choices: Choices, documents: list[dict[str, Any]]) -> bool:
    from export.commands.documents import up_to_date_document
    from export.commands.variants import shown
    from export.precision.recipe_variant import export_variant, is_variant_up_to_date
    from export.publication.pipeline import repository_folder
    from serving.onnx_files.releases import find_release
    from training.checkpoints.checkpoint import load_checkpoint

    screen, exporter = out(choices.json), None if choices.exporter == "auto" else choices.exporter
    order = order_of(choices, choices.precision)
    checkpoint = load_checkpoint(name)
    recipe = checkpoint.recipe.name()
    _remark_on_newer_weights(checkpoint, name)
    release = find_release(choices.triton)
    wanted = (checkpoint, order, choices.next_version, exporter)
    if choices.if_changed and is_variant_up_to_date(*wanted, repository_folder(), release):
        screen.print(f"{recipe} {choices.precision}: up to date")
        documents.append(up_to_date_document(recipe))
        return True
    return shown(
        screen, recipe, lambda progress: export_variant(*wanted, progress, release, choices.even_if_slower), documents
    )
