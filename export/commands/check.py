"""Prove a model and publish nothing: for CI, and for a look before the export.

A module or a recipe is exported and proven as `conch export` does. An ONNX file of any origin is held against the
module it was made from, another ONNX file, or recorded answers, on the same grid and by the same judge.

exit codes:
  0 proven   1 wrong   2 bad command   3 cannot be exported or served   4 unverifiable

examples:
  conch check net.py:Net --input "image:float32[batch,3,224,224]" --weights net.safetensors
  conch check model.onnx --reference net.py:Net --weights net.safetensors
  conch check optimized.onnx --reference model.onnx --time 5m
  conch check model.onnx --inputs-from x.npz --outputs-from y.npz --junit check.xml
  conch check cnn
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from clients.repeated import repeated
from conch import command_line
from conch.command_line import out, print_json
from conch.contracts.errors import ConchError
from export.commands.module_choices import ModuleChoices, prepare
from serving.onnx_files.releases import find_release

if TYPE_CHECKING:
    from export.commands.checked import Checked
    from export.conversion.convert import Exporter
    from export.proof.pace import Pace
    from export.proof.prove import Proof

BAD_COMMAND = 2


@dataclass(frozen=True, kw_only=True)
class Choices(ModuleChoices):
    """What is proven, and against what."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE.py:NAME|FILE.onnx|RECIPE")]
    """A module as `conch export module` takes it, an ONNX file, or a recipe whose weights are trained."""
    inputs: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="input", metavar="SPEC")] = ()
    """NAME:DTYPE[AXIS,...]<LOWEST,HIGHEST>, once for each input. Of an ONNX file: only where the range of made-up
    inputs, or an axis, has to be said."""
    reference: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME|FILE.onnx")] = None
    """What an ONNX file has to compute. --weights and --torch-weights are those of the module."""
    outputs_from: Path | None = None
    """Recorded answers to --inputs-from in an .npz file, an array for each output."""
    junit: Path | None = None
    """Write a JUnit XML file, a test case for each cell of the grid."""
    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def main(words: Sequence[str]) -> int:
    """Run `conch check` with these words; the exit code."""
    choices = tyro.cli(Choices, prog="conch check", description=__doc__, args=repeated(words, Choices, 1))
    return command_line.run(lambda: check(choices), failed=BAD_COMMAND)


def check(choices: Choices) -> int:
    """Prove what is meant; the highest exit code of several models."""
    from export.commands.junit import write_junit
    from export.commands.progress import paced

    screen = out(choices.json)
    _refuse_contradictions(choices)
    with paced(screen, f"loading {choices.source}", choices.time) as pace:
        found = _check(choices, pace)
    for one in found:
        one.show(screen)
    if choices.json:
        print_json([one.as_json() for one in found])
    if choices.junit:
        write_junit(choices.junit, found)
    return max(one.verdict.code for one in found)


def _refuse_contradictions(choices: Choices) -> None:
    """Before anything is loaded.

    Raises:
        ConchError: what does not go together.
    """
    if (choices.reference or choices.outputs_from) and not _is_file(choices.source):
        raise ConchError(
            f"--reference and --outputs-from are of an ONNX file; {choices.source} is exported, and its own reference"
        )
    if choices.junit and not choices.junit.resolve().parent.is_dir():
        raise ConchError(f"--junit {choices.junit}: there is no folder {choices.junit.parent}")
    if _is_file(choices.source) and (choices.examples or choices.open or choices.constants or choices.outputs):
        raise ConchError(
            f"{choices.source} is an ONNX file, with inputs and outputs of its own: --example, --open, --constant and "
            "--output are of a module; real inputs are --inputs-from, ranges --input"
        )
    if _is_recipe(choices.source) and (choices.inputs or choices.inputs_from or choices.weights):
        raise ConchError(
            f"{choices.source} is a recipe, which has inputs and weights of its own; a module is FILE.py:NAME"
        )


def _is_file(source: str) -> bool:
    return Path(source).suffix == ".onnx" or (Path(source).is_file() and Path(source).suffix != ".py")


def _is_recipe(source: str) -> bool:
    return not _is_file(source) and ".py:" not in source


def _check(choices: Choices, pace: Pace) -> list[Checked]:
    if _is_file(choices.source):
        return [_file(choices, pace)]
    return _recipe(choices, pace) if _is_recipe(choices.source) else [_module(choices, pace)]


def _file(choices: Choices, pace: Pace) -> Checked:
    from export.commands.checked import Checked
    from export.proof.verdict import NOT_EXPORTED, UNVERIFIABLE, WRONG, Verdict, verdict_on
    from export.references.file_subject import Asked
    from export.references.held import Unverifiable
    from export.references.matching import Mismatch
    from export.references.proving import Against, NotServable, prove_file

    path, started = Path(choices.source), time.monotonic()
    asked = Asked(choices.inputs, choices.sizes, choices.inputs_from, choices.max_batch)
    against = Against(choices.reference, choices.outputs_from, choices.weights, choices.torch_weights)
    try:
        proof = prove_file(path, asked, against, pace)
    except (Mismatch, NotServable, Unverifiable) as error:
        codes = {Mismatch: WRONG, NotServable: NOT_EXPORTED, Unverifiable: UNVERIFIABLE}
        verdict = Verdict(codes[type(error)], str(error))
        return Checked(path.stem, choices.source, verdict, time.monotonic() - started)
    verdict, seconds = verdict_on(proof.grid), time.monotonic() - started
    return Checked(
        path.stem, choices.source, verdict, seconds, proof.reference, proof.grid, proof.culprit, told=proof.told
    )


def _module(choices: Choices, pace: Pace) -> Checked:
    from export.commands.checked import Checked
    from export.conversion.convert import ExportError
    from export.modules.module_export import prove_module
    from export.proof.verdict import NOT_EXPORTED, Verdict

    name, started = choices.source.rpartition(":")[2], time.monotonic()
    release = find_release(choices.triton)
    try:
        prepared = prepare(choices, name)
        proofs = _proofs(lambda path: prove_module(prepared.served, path, _exporter(choices), pace, release))
    except ExportError as error:
        verdict = Verdict(NOT_EXPORTED, str(error))
        return Checked(name, choices.source, verdict, time.monotonic() - started)
    reference = {"kind": "module", "file": Path(choices.source).name, **prepared.source, "sha256": prepared.hashes}
    found = _best(name, choices.source, proofs, started, reference)
    return replace(found, told=(*prepared.told, f"inputs {prepared.source['inputs']}"))


def _recipe(choices: Choices, pace: Pace) -> list[Checked]:
    from export.publication.pipeline import convert_proven
    from training.catalogue import named
    from training.checkpoints.checkpoint import load_checkpoint

    exporter, release = _exporter(choices), find_release(choices.triton)
    found = []
    for recipe in named(choices.source):
        checkpoint = load_checkpoint(recipe)
        reference = {"kind": "recipe", "file": recipe, "sha256": checkpoint.manifest["sha256"]}
        for index, served in enumerate(checkpoint.recipe.served(checkpoint.trained, checkpoint.data)):
            started = time.monotonic()
            prove = partial(
                convert_proven, checkpoint, served, exporter=exporter, pace=pace, scored=index == 0, release=release
            )
            found.append(_best(served.name, recipe, _proofs(prove), started, reference))
    return found


def _exporter(choices: Choices) -> Exporter | None:
    return None if choices.exporter == "auto" else choices.exporter


def _proofs(prove: Callable[[Path], list[Proof]]) -> list[Proof]:
    """The proofs of every exporter that was tried; their files are gone."""
    from export.publication.pipeline import ProofFailed

    with tempfile.TemporaryDirectory(prefix="conch-check-") as folder:
        try:
            return prove(Path(folder) / "model.onnx")
        except ProofFailed as failed:
            return failed.proofs


def _best(name: str, source: str, proofs: Sequence[Proof], started: float, reference: Mapping[str, Any]) -> Checked:
    from export.commands.checked import Checked
    from export.proof.verdict import best

    proof, verdict = best(proofs)
    rejected = [other for other in proofs if other is not proof]
    seconds = time.monotonic() - started
    return Checked(
        name, source, verdict, seconds, reference, proof.grid, proof.culprit, proof=proof, rejected=rejected
    )  # fmt: skip
