"""From a proven fp32 file to the variant to publish, or to the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from conch.contracts.comparison import TOLERANCES, Tolerances
from export.precision.gate import THREADS, Gate, Try, find_variant, slower
from export.precision.judge import Judge
from export.precision.order import Order, Precision
from export.precision.original import Original
from export.precision.quantizers import calibrates, quantizers_for
from export.precision.target import is_for_this_machine
from export.proof.budget import widened
from export.publication.pipeline import metrics_json
from serving.onnx_files.releases import Release

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """A published variant and all that was tried for it."""

    name: str
    precision: Precision
    chosen: Try
    tries: tuple[Try, ...]
    judged_by: str
    remarks: tuple[str, ...]
    """What the user has to know of how it was judged and made, a sentence each."""
    version: Path


@dataclass(frozen=True)
class Chosen:
    """The variant to publish, all that were tried, and what the manifest says of them."""

    one: Try
    tries: tuple[Try, ...]
    manifest: dict[str, Any]
    judged_by: str
    remarks: tuple[str, ...]

    def published(self, name: str, precision: Precision, version: Path) -> Variant:
        """What came of it."""
        return Variant(name, precision, self.one, self.tries, self.judged_by, self.remarks, version)


def variant_name(model: str, precision: Precision, next_version: bool) -> str:
    """The folder of a variant: a name of its own, or that of the model whose next version it becomes."""
    return model if next_version else f"{model}_{precision}"


def choose_variant(
    original: Original,
    judge: Judge,
    order: Order,
    release: Release,
    tolerance: Tolerances = TOLERANCES,
    progress: Progress = lambda _: None,
    even_if_slower: bool = False,
) -> Chosen:
    """The variant to publish.

    Args:
        original: the fp32 file; variants are written beside it.
        judge: says what was lost.
        order: the precision, and how it is to be reached.
        release: the oldest Triton release that has to load the variant.
        tolerance: what answers of the fp32 file are held to.
        progress: told what is being done.
        even_if_slower: take one that is slower than fp32 on this machine, if this is one that it is for.

    Raises:
        PrecisionRefused: no variant passed the gate, or the best one is slower than fp32.
        ConchError: there is no layer for it, or nothing to calibrate with.
    """
    gate = Gate(original, judge, release)
    # What fp16 is for, a GPU, was not measured.
    measured = order.precision != "fp16" and is_for_this_machine(order.target)
    no_slower = measured and not even_if_slower
    quantizers = quantizers_for(original, order)
    chosen, tries = find_variant(gate, quantizers, original.fp32.parent, progress, no_slower)
    if no_slower and chosen.speedup < 1:
        raise slower(original.name, order.precision, chosen, tries)
    remarks = [*judge.remarks]
    if calibrates(original.fp32, order) and not original.calibration:
        remarks.append(f"static int8 was not tried, there is nothing to calibrate it with: {original.how_to_calibrate}")
    manifest = {
        "precision": order.precision,
        "score": {"weights": metrics_json(judge.fp32), "onnx": metrics_json(chosen.score)},
        "tolerance": widened(tolerance, original.outputs, chosen.proof.alone()),
        "bytes": chosen.size,
        "nodes": len(onnx.load(chosen.path, load_external_data=False).graph.node),
        "variant": {
            **chosen.describes,
            "of": original.name,
            "method": chosen.method,
            "judged_by": judge.described,
            "kept_in_fp32": list(chosen.kept),
            "layers": chosen.layers,
            "fp32_bytes": gate.fp32_size,
            "size_ratio": round(chosen.size_ratio, 4),
            "speedup": round(chosen.speedup, 3),
            "speedup_alone": round(chosen.speedup_alone, 3),
            "speedup_at": {"batch": original.largest_batch, "threads": THREADS},
            "cannot_tell": list(chosen.cannot_tell),
            "allowed_loss": {name: str(loss) for name, loss in judge.allowed.items()},
            "tries": [_tried(one) for one in tries],
        },
    }
    return Chosen(chosen, tuple(tries), manifest, judge.described, tuple(remarks))


def _tried(one: Try) -> dict[str, Any]:
    return {
        "method": one.method,
        "kept_in_fp32": list(one.kept),
        "score": metrics_json(one.score),
        "bytes": one.size,
        "speedup": round(one.speedup, 3),
        "speedup_alone": round(one.speedup_alone, 3),
        "failures": list(one.failures),
    }
