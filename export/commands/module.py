"""Turn any torch.nn.Module into a proven ONNX file and publish it, without a recipe.

What it takes is said by an example, which NAME returns beside the module or --example gives, or by --input. What it
returns is named after its keys. The proof runs ONNX Runtime against PyTorch on a grid of batches, sizes and inputs.
Without a recipe there is no score, and the manifest says so; so it does of the inputs, where they were random.

examples:
  conch export module net.py:build --name net
  conch export module net.py:Net --example net.py:example --open tokens:1=time --open mask:1=time --name net
  conch export module net.py:Net --input "image:float32[batch,3,224,224]" --weights net.safetensors --name net
  conch export module mine.py:build --input "tokens:int64[batch,time]<0,102>" --sizes time=1,2,17,64 --name mine
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import tyro
from rich.markup import escape

from clients.repeated import repeated
from conch import command_line
from conch.command_line import out, print_json
from export.commands.module_choices import ModuleChoices, prepare
from serving.onnx_files.releases import find_release


@dataclass(frozen=True, kw_only=True)
class Choices(ModuleChoices):
    """What is exported, and how."""

    name: str
    """Its name in the repository and for clients."""
    replace_contract: bool = False
    """Publish it also where clients of the name find other tensors, types, shapes, batches or labels than in the
    version before."""
    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def main(words: Sequence[str]) -> int:
    """Run `conch export module` with these words; the exit code."""
    choices = tyro.cli(Choices, prog="conch export module", description=__doc__, args=repeated(words, Choices, 1))
    return command_line.run(lambda: _export(choices), stopped="stopped; nothing half-written was left")


def _export(choices: Choices) -> int:
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
            served, source = prepared.served, prepared.source
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
