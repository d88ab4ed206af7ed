"""What a module takes and returns, from the options of the command line and from running it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from conch.contracts.errors import ConchError
from export.commands.module_choices import ModuleChoices
from export.modules.call import Call, calls_by_name
from export.modules.example import read_examples
from export.modules.example_files import read_example
from export.modules.example_options import options_of
from export.modules.module_served import NoBatchError, find_outputs
from export.modules.module_source import Built
from export.modules.module_spec import DEFAULT_SIZES, open_axes, parse_input, parse_inputs, parse_sizes
from export.modules.module_values import SEED, random_examples, real_examples
from export.modules.taken import ROWS_SIZES, Taken, first_that_runs, without_batches
from training.tensors import Tensor

LARGEST_BATCH = 32
"""The most rows of a run, where nothing else is said."""


@dataclass(frozen=True)
class Described:
    """A module as a graph sees it."""

    module: torch.nn.Module
    taken: Taken
    outputs: tuple[Tensor, ...]
    largest_batch: int
    """0 where it is served without batches."""
    values: str
    """What it is proven on."""
    why_not_batched: str
    options: tuple[str, ...]
    """What says of the command line what an example says."""
    told: tuple[str, ...]


def describe(choices: ModuleChoices, built: Built) -> Described:
    """Read the options, or the examples in their place, and run the module.

    Raises:
        ConchError: they contradict each other, or the module is not what they say.
    """
    built = replace(built, module=_unwrapped(built.module))
    if choices.max_batch is not None and choices.max_batch < 0:
        raise ConchError(f"--max-batch {choices.max_batch}: it must be at least 1, or 0 to serve without batches")
    if choices.inputs:
        (taken, reason, told), rows = _by_options(choices, built.module), 1
    else:
        taken, reason, told, rows = _by_examples(choices, built)
    if reason and choices.max_batch:
        raise ConchError(f"--max-batch {choices.max_batch}: axis 0 of the inputs is no batch, {reason}")
    taken = _with_given_values(choices, taken)
    try:
        module, outputs = find_outputs(built.module, taken, choices.outputs)
    except NoBatchError as error:
        if choices.max_batch is not None:
            raise ConchError(
                f"{error}; serve the other outputs alone, --output NAME, or all without batches, --max-batch 0"
            ) from error
        reason = str(error)
        taken, (module, outputs) = _alone(choices, built.module, taken, rows)
        told += [f"served without batches: {reason}" + ("; --output NAME leaves it out" if len(outputs) > 1 else "")]
    else:
        told += [f"served without batches: {reason}"] if reason and choices.max_batch is None else []
    options: tuple[str, ...] = ()
    if not choices.inputs:
        options = _options(choices, built.module, taken)
        same = ("without the example, the same is said by", f"  {' '.join(options)}")
        told = [*told, *(same if options else ("no options can say the same: keep the example",))]
    largest = (LARGEST_BATCH if choices.max_batch is None else choices.max_batch) if taken.batched else 0
    return Described(module, taken, outputs, largest, _values(choices, taken), reason, options, tuple(told))


def _unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """What torch.compile or DataParallel was given: it computes the same, and they hide its signature."""
    inner = getattr(module, "_orig_mod", module.module if isinstance(module, torch.nn.DataParallel) else module)
    return inner if inner is module or not isinstance(inner, torch.nn.Module) else _unwrapped(inner)


def _options(choices: ModuleChoices, module: torch.nn.Module, taken: Taken) -> tuple[str, ...]:
    """What says the same as an example; nothing where the module refuses all values but the example's."""
    if choices.inputs_from:
        found = options_of(module, taken)
        return (*found, f"--inputs-from {shlex.quote(str(choices.inputs_from))}") if found else ()
    return options_of(module, taken) if taken.has_random else ()


def _by_options(choices: ModuleChoices, module: torch.nn.Module) -> tuple[Taken, str, list[str]]:
    """What `--input` says, why axis 0 is no batch, and what to tell."""
    for flag, given in (("--example", choices.examples), ("--open", choices.open)):
        if given:
            raise ConchError(f"{flag} and --input: one of the two; --input says names, types, axes and ranges itself")
    unlike = [text for text in choices.inputs if parse_input(text).shape[:1] != ("batch",)]
    batched = bool(choices.max_batch) or (choices.max_batch is None and not unlike)
    inputs = parse_inputs(choices.inputs, batched)
    axes = open_axes(inputs, batched)
    sizes = dict.fromkeys(axes, DEFAULT_SIZES) | parse_sizes(choices.sizes, axes)
    names = [tensor.name for tensor in inputs]
    examples = random_examples(inputs, sizes, _largest(choices) if batched else 0)
    taken = Taken(Call.row(names), inputs, sizes, examples, 0, batched)
    calls = list(calls_by_name(module, names, _constants(choices.constants)))
    if call := first_that_runs(module, calls, taken.arrays(taken.usual)) or next(iter(calls), None):
        taken = replace(taken, call=call)
    reason = (
        "" if batched else f"--input {unlike[0]} does not begin with batch" if unlike else "--max-batch 0 asks for it"
    )
    return taken, reason, []


def _by_examples(choices: ModuleChoices, built: Built) -> tuple[Taken, str, list[str], int]:
    """What the examples say, why axis 0 is no batch, what to tell, and the size of axis 0."""
    if choices.constants:
        raise ConchError("--constant goes with --input; an example has the arguments that are no tensors itself")
    examples = [read_example(source) for source in choices.examples] or list(built.examples)
    if not examples:
        raise ConchError(
            "what does the module take? Return an example beside it (return module, example), give one as --example "
            'FILE.py:function, or say it: --input "image:float32[batch,3,224,224]"'
        )
    read = read_examples(built.module, examples, choices.open, choices.sizes, _largest(choices))
    return read.taken, read.why_not_batched, list(read.told), read.rows


def _largest(choices: ModuleChoices) -> int:
    return LARGEST_BATCH if choices.max_batch is None else choices.max_batch


def _constants(texts: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            equals = ""
        if not name or not equals:
            raise ConchError(f"--constant {text}: it must be NAME=JSON, as in use_cache=false or 'mode=\"fast\"'")
    return found


def _with_given_values(choices: ModuleChoices, taken: Taken) -> Taken:
    """On the values of `--inputs-from`, where they are given."""
    if not choices.inputs_from:
        return taken
    rows = _largest(choices) if taken.batched else 0
    values = real_examples(choices.inputs_from, taken.inputs, taken.sizes, rows)
    return replace(taken, examples=values, real=len(next(iter(values.values()))))


def _alone(
    choices: ModuleChoices, module: torch.nn.Module, taken: Taken, rows: int
) -> tuple[Taken, tuple[torch.nn.Module, tuple[Tensor, ...]]]:
    """The same without batches: with any number of rows, or where the module has no answer to that, with `rows`."""
    opened = without_batches(taken, tuple(sorted({*ROWS_SIZES, rows})))
    try:
        return opened, find_outputs(module, opened, choices.outputs)
    except ConchError:
        fixed = without_batches(taken, (rows,))
        return fixed, find_outputs(module, fixed, choices.outputs)


def _values(choices: ModuleChoices, taken: Taken) -> str:
    random = f"random within their ranges, seed {SEED}"
    if choices.inputs_from:
        return choices.inputs_from.name
    if taken.real:
        return f"the example's ({taken.real})" + (f", then {random}" if taken.has_random else "")
    return random
