"""From an existing ONNX file to a published variant, judged by a function or by fp32's answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from clients.preparation import Preparation
from conch.contracts.comparison import EXACT, TOLERANCES
from conch.contracts.golden import golden_arrays
from conch.contracts.scheduling import Scheduling
from export.precision.file_items import read_given
from export.precision.items import HOW_TO_CALIBRATE, distinct, split
from export.precision.judge import Judge
from export.precision.order import Order
from export.precision.original import ITEMS, Original, Run, batch_run, taken_from
from export.precision.quantizers import calibrates
from export.precision.variant import Progress, Variant, choose_variant, variant_name
from export.proof.runtime import onnx_predict
from export.publication.pipeline import repository_folder
from serving.onnx_files.inspection import Inspected, inspect_onnx
from serving.onnx_files.releases import Release
from serving.onnx_files.signature import open_session, session_signature
from serving.onnx_files.trial import BATCHES, GOLDEN_ROWS, try_model
from serving.onnx_files.trial_inputs import dtype_of
from serving.repository.configuration import graph_config
from serving.repository.foreign import file_manifest
from serving.repository.labels import read_labels
from serving.repository.names import check_name
from serving.repository.publish import publish
from training.score import Predict

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class FileModel:
    """An existing ONNX file that is to be published in a lower precision, and what a server and clients know of it."""

    onnx_file: Path
    name: str
    max_batch: int | None = None
    """The most rows of a batch; None finds out, 0 serves without batches."""
    labels: str | None = None
    """A file of one label a line, `FILE`, or `OUTPUT=FILE`."""
    class_labels: str | None = None
    """The same, of the classes whose numbers are the output's values."""
    inputs_from: Path | None = None
    """An .npz file with real inputs by name."""
    preparation: Preparation | None = None
    """How a client brings a picture to its input."""
    scheduling: Scheduling = Scheduling()  # noqa: RUF009  # frozen
    """How requests wait for their turn."""


def export_file_variant(
    model: FileModel,
    order: Order,
    judge_of: Callable[[Original, Sequence[str]], Judge],
    scored: bool,
    release: Release,
    next_version: bool = False,
    progress: Progress = lambda _: None,
    even_if_slower: bool = False,
    replace_contract: bool = True,
) -> Variant:
    """Show that the file runs, as `conch publish` does, then publish it in a lower precision.

    Args:
        model: the file.
        order: the precision, and how it is to be reached.
        judge_of: makes the judge of the file, told which outputs have labels.
        scored: whether that is a function with data of its own.
        release: the oldest Triton release that has to load the variant.
        next_version: publish as the next version of the model and not under a name of its own.
        progress: told what is being done.
        even_if_slower: publish what is slower than fp32 on this machine, if this is one that it is for.
        replace_contract: as `publish` says.

    Raises:
        PrecisionRefused: no variant passed the gate, or the best is slower than fp32; nothing was published.
        ConchError, ServingError: the file cannot be served, no layer or inputs for it, or the repository cannot be
            written.
    """
    check_name(model.name)
    name = variant_name(model.name, order.precision, next_version)
    inspected = inspect_onnx(model.onnx_file, model.name)
    named = [value.name for value in inspected.model.graph.output]
    labels = read_labels(model.labels, named) if model.labels else {}
    classes = read_labels(model.class_labels, named, "--class-labels") if model.class_labels else {}
    where = f"model {model.name!r}: {model.onnx_file}"
    session = open_session(model.onnx_file, where)
    # Types and shapes, before anything is run.
    graph_config(session_signature(session, inspected.model), model.name, model.max_batch or 0, labels)
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        progress(f"{model.name}: running it")
        given = read_given(model.inputs_from, session.get_inputs())
        trial = try_model(session, where, model.max_batch, given.for_trial)
        items = distinct(given.items(session.get_inputs(), trial))
        fp32 = _copied(model.onnx_file, inspected, Path(folder))
        measured = model.inputs_from is not None and calibrates(fp32, order)
        outputs = {output.name: dtype_of(output.type) for output in session.get_outputs()}
        original = _original(model, outputs, fp32, trial.max_batch_size, *split(items, measured, scored))
        chosen = choose_variant(
            original, judge_of(original, [*labels]), order, release, TOLERANCES, progress, even_if_slower
        )
        progress(f"{model.name}: publishing")
        version = publish(
            chosen.one.path,
            name=name,
            repository=repository_folder(),
            max_batch_size=trial.max_batch_size,
            manifest=file_manifest(inspected.model, trial, model.onnx_file, [fp32]) | chosen.manifest,
            parity=chosen.one.proof.as_json(),
            golden=_golden(original, onnx_predict(chosen.one.path), items),
            labels=labels,
            class_labels=classes,
            preparation=model.preparation,
            scheduling=model.scheduling,
            replace_contract=replace_contract,
        )
        return chosen.published(name, order.precision, version)


def _copied(onnx_file: Path, inspected: Inspected, folder: Path) -> Path:
    """The file in a folder where more can be written beside it."""
    fp32 = folder / "fp32" / "model.onnx"
    for file in ("", *inspected.external):
        copy = fp32.parent / file if file else fp32
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(onnx_file.parent / file if file else onnx_file, copy)
    return fp32


def _original(
    model: FileModel,
    outputs: Mapping[str, str],
    fp32: Path,
    largest_batch: int,
    judging: Mapping[str, np.ndarray],
    calibration: Mapping[str, np.ndarray],
) -> Original:
    declared = onnx.load(fp32, load_external_data=False)

    def runs() -> Iterator[Run]:
        if not largest_batch:
            for item in range(min(len(next(iter(judging.values()))), ITEMS)):
                yield Run(1, {}, taken_from(judging, item), ())
            return
        for batch in sorted({rows for rows in (*BATCHES, largest_batch) if rows <= largest_batch}, reverse=True):
            rows = {name: array[np.arange(batch) % len(array)] for name, array in judging.items()}
            yield batch_run(batch, rows, {})

    return Original(
        name=model.name, fp32=fp32, inputs=tuple(judging), outputs=outputs, largest_batch=largest_batch,
        examples=judging, calibration=calibration, how_to_calibrate=HOW_TO_CALIBRATE, runs=runs,
        check=lambda variant: _changed(declared, variant),
        tolerances={name: TOLERANCES.get(dtype, EXACT) for name, dtype in outputs.items()},
    )  # fmt: skip


def _changed(declared: onnx.ModelProto, variant: onnx.ModelProto) -> Iterator[str]:
    """Which inputs and outputs are not those of the fp32 file any more."""
    for kind in ("input", "output"):
        before, after = _described(declared, kind), _described(variant, kind)
        if list(before) != list(after):
            yield f"{kind}s are {list(after)}, the fp32 file's are {list(before)}"
        elif other := [name for name in before if before[name] != after[name]]:
            yield f"{kind} {other[0]!r} has another type or shape than in the fp32 file"


def _described(model: onnx.ModelProto, kind: str) -> dict[str, bytes]:
    """Type and shape of each input or output, those left out that have a value of their own."""
    own = {tensor.name for tensor in model.graph.initializer}
    return {value.name: value.type.SerializeToString() for value in getattr(model.graph, kind) if value.name not in own}


def _golden(original: Original, predict: Predict, items: Mapping[str, np.ndarray]) -> Arrays:
    """Inputs with the variant's own answers, an item a row."""
    some = {name: array[:GOLDEN_ROWS] for name, array in items.items()}
    if original.largest_batch:
        parts = [predict(feed) for feed in original.feeds(some)]
        return golden_arrays(some, {name: np.concatenate([part[name] for part in parts]) for name in original.outputs})
    one = {name: array[:1] for name, array in some.items()}  # answers to others may have other shapes
    (answer,) = [predict(feed) for feed in original.feeds(one)]
    return golden_arrays(one, {name: answer[name][np.newaxis] for name in original.outputs})
