"""Publish an existing ONNX file in int8, int4 or fp16, where its answers stay close enough.

The file is shown to run, as `conch publish` does, and is not changed. What is published takes and gives the same
tensors. It is judged by its agreement with the fp32 file's answers to real inputs, or by a function that scores it;
nothing is published where too much is lost, and the exit code is 1.

examples:
  conch export onnx model.onnx --name mine --precision int8 --inputs-from data.npz
  conch export onnx model.onnx --name mine --precision int8 --score judge.py:accuracy --allowed-loss 0.5%
  conch export onnx model.onnx --name mine --precision int4 --block-size 64 --inputs-from data.npz
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from clients.preparation import Fit, UnknownPreparation, chosen_preparation
from conch import command_line
from conch.command_line import out, print_json
from conch.contracts.errors import ConchError
from export.commands.precision_choices import GateChoices, PrecisionChoices, judge_of, order_of, refuse_without_judge
from serving.onnx_files.releases import OLDEST, find_release
from serving.repository.scheduling_choices import SchedulingChoices


@dataclass(frozen=True, kw_only=True)
class Choices(GateChoices, PrecisionChoices, SchedulingChoices):
    """What is published, and how."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.onnx")]
    """The fp32 model; files with its weights lie beside it."""
    name: str
    """Its name in the repository; the variant's is NAME_int8, NAME_int4 or NAME_fp16."""
    precision: Literal["int8", "int4", "fp16"]
    """What is published."""
    inputs_from: Path | None = None
    """Real inputs in an .npz file, an array for each input. Those of a model without a batch axis may have one more
    axis in front, that counts items."""
    labels: str | None = None
    """A text file of class labels, one a line; OUTPUT=FILE where there are several outputs."""
    class_labels: str | None = None
    """As `conch publish` takes it."""
    picture_fit: Fit | None = None
    """As `conch publish` takes it."""
    picture_white_level: float | None = None
    """As `conch publish` takes it."""
    max_batch: int | None = None
    """The most rows of a request and of a batch; 0 serves without batches. Default: as `conch publish` finds it."""
    replace_contract: bool = False
    """Publish it also where clients of the name find other tensors, types, shapes, batches or labels than in the
    version before."""
    triton: str = OLDEST
    """Oldest Triton release that has to load it."""
    json: bool = False
    """Print one JSON document instead, for programs; docs/json.md has its keys."""


def main(words: Sequence[str]) -> int:
    """Run `conch export onnx` with these words; the exit code."""
    choices = tyro.cli(Choices, prog="conch export onnx", description=__doc__, args=words)
    return command_line.run(lambda: _export(choices), stopped="stopped; nothing half-written was left")


def _export(choices: Choices) -> int:
    from export.commands.variants import shown
    from export.precision.file_variant import FileModel, export_file_variant

    refuse_without_judge(choices, choices.inputs_from)
    try:
        preparation = chosen_preparation(choices.picture_fit, choices.picture_white_level)
    except UnknownPreparation as error:
        raise ConchError(f"{error}") from error
    model = FileModel(
        choices.source, choices.name, choices.max_batch, choices.labels, choices.class_labels, choices.inputs_from,
        preparation, choices.scheduling,
    )  # fmt: skip
    order, release = order_of(choices, choices.precision), find_release(choices.triton)
    documents: list[dict[str, Any]] = []
    passed = shown(
        out(choices.json), choices.name,
        lambda progress: export_file_variant(
            model, order, lambda original, labelled: judge_of(choices, original, labelled, choices.inputs_from),
            choices.score is not None, release, choices.next_version, progress, choices.even_if_slower,
            choices.replace_contract,
        ),
        documents,
    )  # fmt: skip
    if choices.json:
        print_json(documents)
    return 0 if passed else 1
