"""From a module without a recipe to a published variant, judged by a function or by fp32's answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.conversion.convert import Exporter
from export.modules.module_export import prove_module, publish_module
from export.precision.items import HOW_TO_CALIBRATE, distinct, split
from export.precision.judge import Judge
from export.precision.order import Order
from export.precision.original import Original, original_of
from export.precision.quantizers import calibrates
from export.precision.variant import Progress, Variant, choose_variant, variant_name
from export.proof.budget import tolerances
from export.proof.pace import Pace
from serving.onnx_files.releases import Release
from training.served import Served


def export_module_variant(
    served: Served,
    source: dict[str, Any],
    hashes: dict[str, str],
    order: Order,
    judge_of: Callable[[Original], Judge],
    scored: bool,
    release: Release,
    next_version: bool = False,
    exporter: Exporter | None = None,
    progress: Progress = lambda _: None,
    even_if_slower: bool = False,
    limit: float | None = None,
    replace_contract: bool = True,
) -> Variant:
    """Convert and prove `served` in fp32, then publish it in a lower precision.

    Args:
        served, source, hashes, exporter: as `export_module` takes them.
        order: the precision, and how it is to be reached.
        judge_of: makes the judge of the proven fp32 file.
        scored: whether that is a function with data of its own.
        release: the oldest Triton release that has to load the file.
        next_version: publish as the next version of the model and not under a name of its own.
        progress: told what is being done.
        even_if_slower: publish what is slower than fp32 on this machine, if this is one that it is for.
        limit: seconds that the proof of the fp32 file is cut to.
        replace_contract: as `publish` says.

    Raises:
        ProofFailed: the fp32 file does not pass its own proof.
        PrecisionRefused: no variant passed the gate, or the best is slower than fp32; nothing was published.
        ConchError, ServingError: no layer or inputs for it, or the repository cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        fp32 = Path(folder) / "model.onnx"
        proofs = prove_module(served, fp32, exporter, Pace(limit, progress), release)
        real = {name: array[: served.real_examples] for name, array in served.examples.items()}
        given = served.real_examples != 0
        items = distinct(real if given else served.examples)
        judging, calibration = split(items, given and calibrates(fp32, order), scored)
        judged = replace(served, examples=judging, real_examples=None if given else 0)
        original = original_of(judged, fp32, calibration, HOW_TO_CALIBRATE)
        chosen = choose_variant(
            original, judge_of(original), order, release, tolerances(served), progress, even_if_slower
        )
        progress(f"{served.name}: publishing")
        name = variant_name(served.name, order.precision, next_version)
        version = publish_module(
            served,
            proofs,
            chosen.one.path,
            source,
            hashes,
            name,
            chosen.manifest,
            chosen.one.proof.as_json(),
            replace_contract=replace_contract,
        )
        return chosen.published(name, order.precision, version)
