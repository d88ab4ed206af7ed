"""Turn any torch.nn.Module into a proven ONNX file and publish it, without a recipe.

What it takes is said by an example, which NAME returns beside the module or --example gives, or by --input. What it
returns is named after its keys. The proof runs ONNX Runtime against PyTorch on a grid of batches, sizes and inputs.
Without a recipe there is no score, and the manifest says so; so it does of the inputs, where they were random.

examples:
  conch export module net.py:build --name net
  conch export module net.py:Net --example net.py:example --open tokens:1=time --open mask:1=time --name net
  conch export module net.py:Net --input "image:float32[batch,3,224,224]" --weights net.safetensors --name net
  conch export module mine.py:build --input "tokens:int64[batch,time]<0,102>" --sizes time=1,2,17,64 --name mine
  conch export module net.py:Net --input "image:float32[batch,3,224,224]" --name net --precision int8 \\
      --inputs-from images.npz
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import tyro
from rich.markup import escape

from clients.repeated import repeated
from conch import command_line
from conch.command_line import out, print_json
from export.commands.module_choices import ModuleChoices, prepare
from export.commands.precision_choices import (
    GateChoices,
    PrecisionChoices,
    judge_of,
    order_of,
    refuse_without_judge,
    refuse_without_precision,
)
from serving.onnx_files.releases import find_release
from serving.repository.scheduling_choices import SchedulingChoices


@dataclass(frozen=True, kw_only=True)
class Choices(ModuleChoices, GateChoices, PrecisionChoices, SchedulingChoices):
    """What is exported, and how."""

    name: str
    """Its name in the repository and for clients."""
    replace_contract: bool = False
    """Publish it also where clients of the name find other tensors, types, shapes, batches or labels than in the
    version before."""
    precision: Literal["fp32", "fp16", "int8", "int4"] = "fp32"
    """What is published as NAME_fp16, NAME_int8 or NAME_int4, where --score or the agreement with fp32's answers to
    the inputs of --inputs-from allows it."""
    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def main(words: Sequence[str]) -> int:
    """Run `conch export module` with these words; the exit code."""
    choices = tyro.cli(Choices, prog="conch export module", description=__doc__, args=repeated(words, Choices, 1))
    return command_line.run(lambda: _export(choices), stopped="stopped; nothing half-written was left")


def _export(choices: Choices) -> int:
    if choices.precision != "fp32":
        return _export_variant(choices)
    refuse_without_precision(choices)
    return _export_fp32(choices)


def _export_fp32(choices: Choices) -> int:
    from export.commands.documents import exported_document, failure_document
    from export.commands.progress import paced
    from export.commands.tables import print_exported, print_failure
    from export.modules.bfloat16 import WAY_OUT, computes_in_bfloat16
    from export.modules.module_export import export_module
    from export.publication.pipeline import ProofFailed

    screen, started = out(choices.json), time.perf_counter()
    exporter = None if choices.exporter == "auto" else choices.exporter
    release = find_release(choices.triton)
    try:
        with paced(screen, f"{choices.name}: loading {choices.source}", choices.time) as pace:
            prepared = prepare(choices, choices.name)
            for line in prepared.told:
                screen.print(escape(line), highlight=False, soft_wrap=True)
            served, source = replace(prepared.served, scheduling=choices.scheduling), prepared.source
            exported = export_module(
                served, source, prepared.hashes, exporter, pace, release, replace_contract=choices.replace_contract
            )
    except ProofFailed as failed:
        print_failure(screen, failed)
        if choices.json:
            print_json([failure_document(choices.name, failed)])
        command_line.fail(f"{failed}; {WAY_OUT}" if computes_in_bfloat16(served) else str(failed))
        return 1
    print_exported(screen, exported, time.perf_counter() - started)
    screen.print(f"  no score: there is no recipe; inputs {escape(source['inputs'])}", highlight=False, soft_wrap=True)
    if choices.json:
        said = {"told": list(prepared.told), "options": source.get("options", [])}
        print_json([exported_document(exported) | said])
    return 0


def _export_variant(choices: Choices) -> int:
    from export.commands.variants import shown
    from export.precision.module_variant import export_module_variant
    from export.proof.pace import parse_time

    refuse_without_judge(choices, choices.inputs_from)
    screen, release = out(choices.json), find_release(choices.triton)
    order = order_of(choices, choices.precision)
    prepared = prepare(choices, choices.name)
    for line in prepared.told:
        screen.print(escape(line), highlight=False, soft_wrap=True)
    served = replace(prepared.served, scheduling=choices.scheduling)
    documents: list[dict[str, Any]] = []
    passed = shown(
        screen, choices.name,
        lambda progress: export_module_variant(
            served, prepared.source, prepared.hashes, order,
            lambda original: judge_of(choices, original, [*served.labels], choices.inputs_from),
            choices.score is not None, release, choices.next_version,
            None if choices.exporter == "auto" else choices.exporter, progress, choices.even_if_slower,
            parse_time(choices.time) if choices.time else None, choices.replace_contract,
        ),
        documents,
    )  # fmt: skip
    if choices.json:
        print_json(documents)
    return 0 if passed else 1
