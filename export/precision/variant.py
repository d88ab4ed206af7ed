"""From a checkpoint to a published int8 or fp16 variant, or to the reason why not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.conversion.convert import Exporter
from export.precision.gate import THREADS, Gate, Try, find_variant, slower
from export.precision.quantizers import Precision, Quantizer, quantizer_for
from export.precision.target import TargetName, is_for_this_machine
from export.proof.pace import Pace
from export.publication.pipeline import convert_proven, metrics_json, publish_proven
from export.publication.up_to_date import export_fingerprint, newest_is
from serving.onnx_files.releases import Release
from training.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class Variant:
    """A published variant and all that was tried for it."""

    name: str
    chosen: Try
    tries: tuple[Try, ...]
    version: Path
    cannot_tell: tuple[str, ...] = ()
    """What the gate's held-out items are too few for, a sentence each."""


def variant_name(model: str, precision: Precision, next_version: bool) -> str:
    """The folder of a variant: a name of its own, or that of the model whose next version it becomes."""
    return model if next_version else f"{model}_{precision}"


def export_variant(
    checkpoint: Checkpoint,
    precision: Precision,
    target: TargetName,
    next_version: bool = False,
    exporter: Exporter | None = None,
    progress: Callable[[str], None] = lambda _: None,
    release: Release | None = None,
    even_if_slower: bool = False,
) -> Variant:
    """Convert and prove the first model that a recipe serves in fp32, then publish it in a lower precision.

    The first, because it is the one that the recipe's score judges.

    Args:
        checkpoint: what `load_checkpoint` gave.
        precision: of the variant.
        target: the processor whose 8-bit types int8 takes.
        next_version: publish as the next version of the model and not under a name of its own.
        exporter: as `export_checkpoint` takes it.
        progress: told what is being done.
        release: the oldest Triton release that has to load the file.
        even_if_slower: publish int8 that is slower than fp32 on this machine, if this is one that it is for.

    Raises:
        ProofFailed: the fp32 file does not pass its own proof.
        PrecisionRefused: no variant passed the gate, or int8 is slower than fp32; nothing was published.
        ConchError, ServingError: no layer, metric or calibration data for it, or the repository cannot be written.
    """
    served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        fp32 = Path(folder) / f"{served.name}.onnx"
        proofs = convert_proven(checkpoint, served, fp32, exporter, Pace(tell=progress), scored=True, release=release)
        gate = Gate(checkpoint, served, fp32, proofs[-1].weights_score)
        quantizer = quantizer_for(served, fp32, precision, target)
        chosen, tries = find_variant(gate, quantizer, Path(folder), progress)
        if precision == "int8" and is_for_this_machine(target) and chosen.speedup < 1 and not even_if_slower:
            raise slower(served.name, chosen, tries)
        progress(f"{served.name}: publishing")
        name = variant_name(served.name, precision, next_version)
        version = publish_proven(
            checkpoint, served, proofs, chosen.path,
            export_fingerprint(checkpoint, exporter, precision, target, release),
            name=name,
            changes=_manifest(gate, quantizer, precision, chosen, tries),
            parity=chosen.proof.as_json(),
        )  # fmt: skip
        return Variant(name, chosen, tuple(tries), version, tuple(gate.cannot_tell()))


def is_variant_up_to_date(
    checkpoint: Checkpoint,
    precision: Precision,
    target: TargetName,
    next_version: bool,
    exporter: Exporter | None,
    repository: Path,
    release: Release | None = None,
) -> bool:
    """Whether the newest version in the variant's folder would come out the same."""
    served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]
    name = variant_name(served.name, precision, next_version)
    return newest_is(repository, name, export_fingerprint(checkpoint, exporter, precision, target, release))


def _manifest(gate: Gate, quantizer: Quantizer, precision: Precision, chosen: Try, tries: list[Try]) -> dict[str, Any]:
    """What a variant's manifest says otherwise than that of its fp32 file."""
    return {
        "precision": precision,
        "score": {"weights": metrics_json(gate.weights), "onnx": metrics_json(chosen.score)},
        "variant": {
            **quantizer.describes,
            "method": chosen.method,
            "kept_in_fp32": list(chosen.kept),
            "layers": len(quantizer.groups),
            "fp32_bytes": gate.fp32.stat().st_size,
            "size_ratio": round(chosen.size_ratio, 4),
            "speedup": round(chosen.speedup, 3),
            "speedup_at": {"batch": gate.served.largest_batch, "threads": THREADS},
            "cannot_tell": gate.cannot_tell(),
            "allowed_loss": {name: str(loss) for name, loss in gate.allowed.items()},
            "tries": [
                {
                    "method": one.method,
                    "kept_in_fp32": list(one.kept),
                    "score": metrics_json(one.score),
                    "bytes": one.size,
                    "speedup": round(one.speedup, 3),
                    "failures": list(one.failures),
                }
                for one in tries
            ],
        },
    }
