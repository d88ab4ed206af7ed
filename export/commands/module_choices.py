"""What is exported of a module, as the command line says it, and what it is turned into before anything is proven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from clients.preparation import Fit, UnknownPreparation, chosen_preparation
from conch.contracts.errors import ConchError
from serving.onnx_files.releases import OLDEST

if TYPE_CHECKING:
    from training.served import Served


@dataclass(frozen=True, kw_only=True)
class ModuleChoices:
    """What is exported, and how: the same options for every command that exports a module."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE.py:NAME")]
    """A module, a class of modules or a function that returns one."""
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


@dataclass(frozen=True)
class Prepared:
    """A module ready to be converted and proven."""

    served: Served
    source: dict[str, Any]
    """Where it comes from and what it is proven on, for the manifest."""
    hashes: dict[str, str]
    """SHA-256 of the files it is made from, for the manifest."""
    told: tuple[str, ...]
    """What the user has to know of how the choices were read, a line each."""


def prepare(choices: ModuleChoices, name: str) -> Prepared:
    """Load the module and its weights, and find what it takes and returns.

    Args:
        choices: of the command line.
        name: of the served model.

    Raises:
        ConchError: the choices contradict each other, a file cannot be read, or the module is not what they say.
    """
    from conch.contracts.fingerprint import sha256_of_file
    from export.modules.module_served import SEED, find_outputs, random_examples, real_examples
    from export.modules.module_source import load_module
    from export.modules.module_spec import parse_inputs, parse_sizes
    from export.modules.module_weights import Loaded, load_torch_weights, load_weights
    from serving.repository.labels import read_labels
    from serving.repository.names import check_name
    from training.served import Served

    check_name(name)
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
        name=name, module=module, inputs=inputs, outputs=outputs, examples=examples, labels=labels,
        largest_batch=choices.max_batch, sizes=sizes, random_examples=choices.inputs_from is None,
        preparation=preparation,
    )  # fmt: skip
    told = (f"{weights}: {'; '.join(loaded.done)}",) if loaded.done else ()
    return Prepared(served, source, hashes, told)
