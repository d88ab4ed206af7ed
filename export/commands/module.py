"""Turn any torch.nn.Module into a proven ONNX file and publish it, without a recipe.

The proof runs ONNX Runtime against PyTorch on a grid of batches, sizes and inputs. Without a recipe there is no score,
and the manifest says so; so it does of the inputs, where they were random.

examples:
  conch export module net.py:Net --input "image:float32[batch,3,224,224]" --weights net.safetensors --name net
  conch export module mine.py:build --input "tokens:int64[batch,time]<0,102>" --sizes time=1,2,17,64 --name mine
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.markup import escape

from clients.preparation import Fit, UnknownPreparation, chosen_preparation
from conch import command_line
from conch.command_line import out, print_json
from conch.contracts.errors import ConchError
from serving.onnx_files.releases import OLDEST, find_release


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is exported, and how."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE.py:NAME")]
    """A module, a class of modules or a function that returns one."""
    name: str
    """Its name in the repository and for clients."""
    inputs: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="input", metavar="SPEC")]
    """NAME:DTYPE[AXIS,...], in the order of forward's arguments, with an optional <LOWEST,HIGHEST>; the first axis is
    batch, other axes are sizes or names. Once for each input."""
    outputs: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="output", metavar="NAME")] = ()
    """Names of the outputs, in order, one a flag. Default: output, or output_0, output_1, ..."""
    sizes: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="AXIS=SIZE,...")] = ()
    """Sizes of a named axis that the proof runs. Default: 1,2,17,64."""
    weights: Path | None = None
    """A safetensors file, a .safetensors.index.json with its shards, or a folder with one of them. Default: as NAME
    built it."""
    torch_weights: Path | None = None
    """A state dict or checkpoint saved by torch.save, read with weights_only=True, in place of --weights."""
    inputs_from: Path | None = None
    """Real inputs in an .npz file, an array for each input. Default: random within their ranges."""
    labels: str | None = None
    """A text file of class labels, one a line; OUTPUT=FILE where there are several outputs."""
    picture_fit: Fit | None = None
    """How clients bring a picture of another shape to the model's: crop its middle out, or stretch it. Default: not
    said, clients crop and tell so."""
    picture_white_level: float | None = None
    """The value that is white in grey pictures of more than 8 bits. Default: 65535; floats are refused."""
    max_batch: int = 32
    """The most rows of a request and of a batch."""
    exporter: Literal["auto", "dynamo", "torchscript"] = "auto"
    """auto: dynamo, and torchscript where dynamo's file fails the proof."""
    triton: str = OLDEST
    """Oldest Triton release that has to load it: decides opset and IR."""
    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def main(words: Sequence[str]) -> int:
    """Run `conch export module` with these words; the exit code."""
    choices = tyro.cli(Choices, prog="conch export module", description=__doc__, args=words)
    return command_line.run(lambda: _export(choices), stopped="stopped; nothing half-written was left")


def _export(choices: Choices) -> int:
    from export.commands.documents import exported_document, failure_document
    from export.commands.tables import print_exported, print_failure
    from export.modules.bfloat16 import WAY_OUT, computes_in_bfloat16
    from export.modules.module_export import export_module
    from export.publication.pipeline import ProofFailed

    screen, started = out(choices.json), time.perf_counter()
    exporter = None if choices.exporter == "auto" else choices.exporter
    release = find_release(choices.triton)
    try:
        with screen.status(escape(f"{choices.name}: loading {choices.source}")) as status:
            served, source, hashes = _served(choices)
            progress = lambda text: status.update(escape(text))  # noqa: E731
            exported = export_module(served, source, hashes, exporter, progress, release)
    except ProofFailed as failed:
        print_failure(screen, failed)
        if choices.json:
            print_json([failure_document(choices.name, failed)])
        command_line.fail(f"{failed}; {WAY_OUT}" if computes_in_bfloat16(served) else str(failed))
        return 1
    print_exported(screen, exported, time.perf_counter() - started)
    screen.print(f"  no score: there is no recipe; inputs {escape(source['inputs'])}", highlight=False, soft_wrap=True)
    if choices.json:
        print_json([exported_document(exported)])
    return 0


def _served(choices: Choices) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """What is exported, its source for the manifest and the hashes of its files."""
    from conch.contracts.fingerprint import sha256_of_file
    from export.modules.module_served import SEED, find_outputs, random_examples, real_examples
    from export.modules.module_source import load_module
    from export.modules.module_spec import parse_inputs, parse_sizes
    from export.modules.module_weights import Loaded, load_torch_weights, load_weights
    from serving.repository.labels import read_labels
    from serving.repository.names import check_name
    from training.served import Served

    check_name(choices.name)
    if not choices.inputs:
        raise ConchError('an input is needed, as in --input "image:float32[batch,3,224,224]"')
    if choices.weights and choices.torch_weights:
        raise ConchError("--weights and --torch-weights: one of the two")
    if choices.max_batch < 1:
        raise ConchError(f"--max-batch {choices.max_batch}: it must be at least 1")
    try:
        preparation = chosen_preparation(choices.picture_fit, choices.picture_white_level)
    except UnknownPreparation as error:
        raise ConchError(f"{error}") from error
    inputs = parse_inputs(choices.inputs)
    sizes = parse_sizes(choices.sizes, inputs)
    module = load_module(choices.source)
    hashes = {"source": sha256_of_file(Path(choices.source.rpartition(":")[0]))}
    weights: Path | None = choices.weights or choices.torch_weights
    loaded = Loaded((), ())
    if weights is not None:
        loaded = (load_weights if choices.weights else load_torch_weights)(module, weights)
        hashes["weights"] = sha256_of_file(loaded.files[0])
        if loaded.done:
            out(choices.json).print(escape(f"{weights}: {'; '.join(loaded.done)}"), highlight=False, soft_wrap=True)
        hashes |= {f"weights/{file.name}": sha256_of_file(file) for file in loaded.files[1:]}
    if choices.inputs_from:
        examples = real_examples(choices.inputs_from, inputs, sizes, choices.max_batch)
        hashes["inputs"] = sha256_of_file(choices.inputs_from)
    else:
        examples = random_examples(inputs, sizes, choices.max_batch)
    outputs = find_outputs(module, inputs, examples, choices.outputs, sizes)
    labels: Mapping[str, tuple[str, ...]] = {}
    if choices.labels:
        labels = read_labels(choices.labels, [tensor.name for tensor in outputs])
    source = {
        "module": f"{Path(choices.source).name}",
        "weights": weights.resolve().name if weights else "as the module was built",
        "weights_read": list(loaded.done),
        "inputs": choices.inputs_from.name if choices.inputs_from else f"random within their ranges, seed {SEED}",
    }
    served = Served(
        name=choices.name, module=module, inputs=inputs, outputs=outputs, examples=examples, labels=labels,
        largest_batch=choices.max_batch, sizes=sizes, random_examples=choices.inputs_from is None,
        preparation=preparation,
    )  # fmt: skip
    return served, source, hashes
