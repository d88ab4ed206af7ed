"""What lower precision is asked for, as the command line says it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from conch.contracts.errors import ConchError

if TYPE_CHECKING:
    from export.precision.judge import Judge
    from export.precision.order import Order
    from export.precision.original import Original
    from training.score import AllowedLoss


@dataclass(frozen=True, kw_only=True)
class PrecisionChoices:
    """How a lower precision is reached and published: the same options for every command that makes one."""

    quantize: Literal["auto", "static", "dynamic", "weights"] = "auto"
    """int8: static measures ranges of activations beforehand, dynamic at each run, weights leaves activations alone.
    Default: static, and dynamic too where there are linear layers over sequences; the fastest that passes the gate."""
    block_size: int | None = None
    """int4, and int8 with --quantize weights: how many weights share a scale, 16 to 256. Default: 32."""
    next_version: bool = False
    """Publish it as the next version of the model and not under a name of its own."""
    target: Literal["x86", "x86-vnni", "arm", "gpu"] | None = None
    """Processor that will serve it. Default: this machine's."""
    even_if_slower: bool = False
    """Publish it though it is slower than fp32 on this machine, for its size."""


@dataclass(frozen=True, kw_only=True)
class GateChoices:
    """What judges a model without a recipe."""

    score: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME")] = None
    """A function that judges: it gets predict, which takes and returns a dictionary of arrays by name, and returns a
    number, higher is better. Default: the agreement with fp32's answers to the inputs of --inputs-from."""
    classes: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="OUTPUT")] = ()
    """An output whose last axis counts classes: judged by its largest. Default: those with labels, and
    probabilities."""
    allowed_loss: str | None = None
    """What may be lost: points of agreement or relative error, as 1; of --score its own unit, or a share, as 1%.
    Default: 1 point of agreement, 5 of relative error, 1% of a score."""


def order_of(choices: PrecisionChoices, precision: str) -> Order:
    """The order for a precision other than fp32.

    Raises:
        ConchError: the choices contradict each other.
    """
    from export.precision.order import Order
    from export.precision.target import this_machine

    assert precision in ("int8", "int4", "fp16")
    return Order(precision, choices.target or this_machine(), choices.quantize, choices.block_size)  # type: ignore[arg-type]


def refuse_without_precision(choices: PrecisionChoices | GateChoices) -> None:
    """Raises:
    ConchError: something is said of a lower precision, and none is asked for.
    """
    for kind in (PrecisionChoices, GateChoices):
        if not isinstance(choices, kind):
            continue
        for name, default in ((field.name, field.default) for field in fields(kind)):
            if getattr(choices, name) != default:
                raise ConchError(f"--{name.replace('_', '-')} is for a lower precision: --precision int8, int4 or fp16")


def refuse_without_judge(choices: GateChoices, inputs_from: Path | None) -> None:
    """Raises:
    ConchError: nothing could tell whether answers got worse.
    """
    if choices.score is None and inputs_from is None:
        raise ConchError(
            "a lower precision needs something that judges it, and random inputs say nothing of real ones: "
            "--inputs-from data.npz with real inputs, or --score FILE.py:function"
        )
    if choices.score is not None and choices.classes:
        raise ConchError("--classes is for the agreement with fp32's answers; --score judges by itself")


def judge_of(choices: GateChoices, original: Original, labelled: Sequence[str], inputs_from: Path | None) -> Judge:
    """The judge that is asked for; it has run the fp32 file.

    Args:
        labelled: outputs with class labels.

    Raises:
        ConchError: the score function fails, or there is no such output.
    """
    from export.precision.agreement import AgreementJudge
    from export.precision.score_function import ScoreJudge
    from export.proof.runtime import onnx_predict

    allowed, predict = parse_allowed_loss(choices.allowed_loss), onnx_predict(original.fp32)
    if choices.score is not None:
        return ScoreJudge(original, predict, choices.score, allowed)
    assert inputs_from is not None
    return AgreementJudge(original, predict, [*choices.classes, *labelled], allowed, inputs_from.name)


def parse_allowed_loss(text: str | None) -> AllowedLoss | None:
    """`1` in the metric's unit, `1%` of its value.

    Raises:
        ConchError: it is neither.
    """
    from training.score import AllowedLoss

    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text.strip())
    if not found:
        raise ConchError(f"--allowed-loss {text!r} must be a number such as 0.5, or a share such as 1%")
    relative = bool(found[2])
    return AllowedLoss(float(found[1]) / (100 if relative else 1), relative)
