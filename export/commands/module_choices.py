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
    inputs: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="input", metavar="SPEC")] = ()
    """NAME:DTYPE[AXIS,...] of each input, with an optional <LOWEST,HIGHEST>; the first axis is batch, other axes are
    sizes or names. NAME is a parameter of forward, or leads to a key inside one (PARAMETER.KEY); other names are its
    arguments in order, or the keys of the mapping that it takes. In a list or a flag each. Default: as
    an example has it."""
    examples: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="example", metavar="FILE:FUNCTION|FILE")
    ] = ()
    """What forward takes, in place of --input: a function in a .py file that returns a tensor, a tuple of arguments or
    a dictionary of keyword arguments, or an .npz, .json or .pt file of such. A second one, of other sizes, opens the
    axes that differ. Default: what NAME returns beside the module."""
    open: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="INPUT:AXIS=NAME")] = ()
    """An axis of the example that may have any size, and its name; axes of one name are equal. In a list or a flag
    each."""
    constants: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="constant", metavar="NAME=JSON")
    ] = ()
    """An argument of forward that is no tensor and the same in every call, beside --input, as use_cache=false."""
    outputs: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="output", metavar="NAME")] = ()
    """Names of the outputs, in order, in a list or a flag each; or those of the keys that the module returns that are
    to be served. Default: the keys; of a tuple output_0, output_1, ..., and of one tensor output."""
    sizes: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="AXIS=SIZE,...")] = ()
    """Sizes of a named axis that the proof runs. Default: 1,2,17,64; of an example its own, and the least and the most
    of those four that the module takes."""
    weights: Path | None = None
    """A safetensors file, a .safetensors.index.json with its shards, or a folder with one of them. Default: as NAME
    built it."""
    torch_weights: Path | None = None
    """A state dict or checkpoint saved by torch.save, read with weights_only=True, in place of --weights."""
    inputs_from: Path | None = None
    """Real inputs in an .npz file, an array for each input. Default: the example's, and random ones."""
    labels: str | None = None
    """A text file of class labels, one a line; OUTPUT=FILE where there are several outputs."""
    class_labels: str | None = None
    """The same, of an output whose values are the numbers of classes, as of boxes or pixels."""
    picture_fit: Fit | None = None
    """How clients bring a picture of another shape to the model's: crop its middle out, or stretch it. Default: not
    said, clients crop and tell so."""
    picture_white_level: float | None = None
    """The value that is white in grey pictures of more than 8 bits. Default: 65535; floats are refused."""
    max_batch: int | None = None
    """The most rows of a request and of a batch; 0 serves without batches. Default: 32 where axis 0 of the inputs and
    outputs is a batch, else 0."""
    exporter: Literal["auto", "dynamo", "torchscript"] = "auto"
    """auto: dynamo, and torchscript where dynamo's file fails the proof."""
    triton: str = OLDEST
    """Oldest Triton release that has to load it: decides opset and IR."""
    time: str | None = None
    """The most time that the proof may take, as 90s, 5m or 1h: the grid is cut to it, and what was left out is said.
    Default: all of it, however long."""


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
    from export.commands.module_inputs import describe
    from export.modules.module_source import load_module
    from export.modules.weighted import load_given_weights
    from serving.repository.labels import read_labels
    from serving.repository.names import check_name
    from training.served import Served

    check_name(name)
    try:
        preparation = chosen_preparation(choices.picture_fit, choices.picture_white_level)
    except UnknownPreparation as error:
        raise ConchError(f"{error}") from error
    built = load_module(choices.source)
    weights = load_given_weights(built.module, choices.weights, choices.torch_weights)
    found = describe(choices, built)
    labels: Mapping[str, tuple[str, ...]] = {}
    if choices.labels:
        labels = read_labels(choices.labels, [tensor.name for tensor in found.outputs])
    classes: Mapping[str, tuple[str, ...]] = {}
    if choices.class_labels:
        classes = read_labels(choices.class_labels, [tensor.name for tensor in found.outputs], "--class-labels")
    source = {
        "module": f"{Path(choices.source).name}",
        "weights": weights.name,
        "weights_read": list(weights.done),
        "inputs": found.values,
        "not_batched_because": found.why_not_batched,
        **({"options": list(found.options)} if found.options else {}),
    }
    served = Served(
        name=name, module=found.module, inputs=found.taken.inputs, outputs=found.outputs,
        examples=found.taken.examples, real_examples=found.taken.real, labels=labels,
        class_labels=classes, largest_batch=found.largest_batch, sizes=found.taken.sizes, preparation=preparation,
    )  # fmt: skip
    return Prepared(served, source, _hashes(choices, weights.files), (*weights.told, *found.told))


def _hashes(choices: ModuleChoices, weights: tuple[Path, ...]) -> dict[str, str]:
    """SHA-256 of each file that decided, by what it is."""
    from conch.contracts.fingerprint import sha256_of_file

    files = {"source": Path(choices.source.rpartition(":")[0])}
    files |= {"weights": weights[0]} if weights else {}
    files |= {f"weights/{file.name}": file for file in weights[1:]}
    files |= {"inputs": choices.inputs_from} if choices.inputs_from else {}
    named = [Path(example.rpartition(":")[0] or example) for example in choices.examples]
    files |= {"example" if place == 0 else f"example/{place + 1}": file for place, file in enumerate(named)}
    return {name: sha256_of_file(file) for name, file in files.items()}
