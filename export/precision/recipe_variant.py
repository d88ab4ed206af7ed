"""From a checkpoint to a published variant, judged by the recipe's own score."""

from __future__ import annotations

import tempfile
from pathlib import Path

from export.conversion.convert import Exporter
from export.precision.judge import RecipeJudge
from export.precision.order import Order
from export.precision.original import original_of
from export.precision.variant import Progress, Variant, choose_variant, variant_name
from export.proof.budget import tolerances
from export.proof.pace import Pace
from export.publication.pipeline import convert_proven, publish_proven
from export.publication.up_to_date import export_fingerprint, newest_is
from serving.onnx_files.releases import OLDEST, Release, find_release
from training.checkpoints.checkpoint import Checkpoint


def export_variant(
    checkpoint: Checkpoint,
    order: Order,
    next_version: bool = False,
    exporter: Exporter | None = None,
    progress: Progress = lambda _: None,
    release: Release | None = None,
    even_if_slower: bool = False,
) -> Variant:
    """Convert and prove the first model that a recipe serves in fp32, then publish it in a lower precision.

    The first, because it is the one that the recipe's score judges.

    Args:
        checkpoint: what `load_checkpoint` gave.
        order: the precision, and how it is to be reached.
        next_version: publish as the next version of the model and not under a name of its own.
        exporter: as `export_checkpoint` takes it.
        progress: told what is being done.
        release: the oldest Triton release that has to load the file.
        even_if_slower: publish what is slower than fp32 on this machine, if this is one that it is for.

    Raises:
        ProofFailed: the fp32 file does not pass its own proof.
        PrecisionRefused: no variant passed the gate, or the best is slower than fp32; nothing was published.
        ConchError, ServingError: no layer, metric or calibration data for it, or the repository cannot be written.
    """
    served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        fp32 = Path(folder) / "model.onnx"
        proofs = convert_proven(checkpoint, served, fp32, exporter, Pace(tell=progress), scored=True, release=release)
        original = original_of(served, fp32, served.calibration)
        judge = RecipeJudge(checkpoint, served.name, served.largest_batch, proofs[-1].weights_score)
        chosen = choose_variant(
            original, judge, order, release or find_release(OLDEST), tolerances(served), progress, even_if_slower
        )
        progress(f"{served.name}: publishing")
        name = variant_name(served.name, order.precision, next_version)
        fingerprint = export_fingerprint(checkpoint, exporter, order.as_json(), release)
        version = publish_proven(
            checkpoint, served, proofs, chosen.one.path, fingerprint,
            name=name, changes=chosen.manifest, parity=chosen.one.proof.as_json(),
        )  # fmt: skip
        return chosen.published(name, order.precision, version)


def is_variant_up_to_date(
    checkpoint: Checkpoint,
    order: Order,
    next_version: bool,
    exporter: Exporter | None,
    repository: Path,
    release: Release | None = None,
) -> bool:
    """Whether the newest version in the variant's folder would come out the same."""
    served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]
    name = variant_name(served.name, order.precision, next_version)
    return newest_is(repository, name, export_fingerprint(checkpoint, exporter, order.as_json(), release))
