"""Publish an existing ONNX file: inspected, shown to load and run, and proven where there is a reference.

It is served byte for byte as it came wherever it can be; what had to be changed is proven to answer as before.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from clients.preparation import Preparation
from conch.contracts.comparison import TOLERANCES
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.scheduling import Scheduling
from serving.errors import ServingError
from serving.onnx_files.asked import Asked
from serving.onnx_files.changes.axes import MovedAxis
from serving.onnx_files.inspection import Inspected, inspect_onnx
from serving.onnx_files.showing import Shown, show
from serving.onnx_files.trial import Trial
from serving.repository.folder import check_level
from serving.repository.labels import read_labels
from serving.repository.names import check_name
from serving.repository.proofs import Proven
from serving.repository.publish import PLAIN, publish
from serving.repository.tensorrt import check_cache

REFERENCE = "none: published as it came, without a PyTorch reference"
NOTHING = Asked()


def publish_file(
    onnx_file: Path,
    name: str,
    repository: Path,
    max_batch: int | None = None,
    labels: str | None = None,
    class_labels: str | None = None,
    inputs_from: Path | None = None,
    engines: str | None = None,
    preparation: Preparation | None = None,
    replace_contract: bool = True,
    prove: Callable[[int], Proven] | None = None,
    asked: Asked = NOTHING,
    scheduling: Scheduling = PLAIN,
) -> tuple[Path, Trial]:
    """Publish `onnx_file` as the next version of `name`; the version's folder, and what was shown of it.

    Args:
        onnx_file: The model; external data files beside it are published along.
        name: Its name in the repository and on the wire.
        repository: The model repository.
        max_batch: The most rows of a batch; None finds out, 0 serves without batches.
        labels: A file of one label a line, `FILE`, or `OUTPUT=FILE` where the model has several outputs.
        class_labels: The same, of the classes whose numbers are the output's values.
        inputs_from: An .npz file with real inputs by name, as `onnx_file` takes them; None generates them.
        engines: Turns on TensorRT, as `publish` says.
        preparation: How a client brings a picture to its input; None says nothing of it.
        replace_contract: As `publish` says.
        prove: Proves the file, once it is shown to run, for batches of so many rows; None publishes it as it came.
        asked: Its states, controls, batch axes and fixed inputs.
        scheduling: How requests wait, as `publish` says.

    Raises:
        ServingError: What keeps the file from being served, in one line. Nothing is published then.
        ConchError: What `prove` raised.
    """
    check_name(name)
    check_level(repository)
    if engines is not None:
        check_cache(engines)
    inspected = inspect_onnx(onnx_file, name)
    where = f"model {name!r}: {onnx_file}"
    with tempfile.TemporaryDirectory(prefix="conch-publish-") as folder:
        try:
            shown = show(onnx_file, inspected, Path(folder), where, asked, max_batch, inputs_from)
        except OSError as error:
            raise ServingError(f"{where} cannot be changed in {folder}: {error.strerror or error}") from error
        file, trial = shown.file, shown.trial
        proven = prove(_rows_as_it_came(shown)) if prove else None
        outputs = [value.name for value in file.model.graph.output]
        version = publish(
            file.path,
            name=name,
            repository=repository,
            max_batch_size=trial.max_batch_size,
            manifest=_manifest(inspected, shown, proven),
            parity={**(proven.parity if proven else _as_it_came(trial)), **shown.proof},
            golden=trial.golden,
            labels=read_labels(labels, outputs) if labels else shown.labels,
            class_labels=read_labels(class_labels, outputs, "--class-labels") if class_labels else None,
            states=shown.states.pairs,
            controls=shown.states.controls,
            initial_states=shown.states.initial,
            engines=engines,
            preparation=preparation,
            replace_contract=replace_contract,
            scheduling=scheduling,
        )
    return version, trial


def _rows_as_it_came(shown: Shown) -> int:
    """The most rows of a batch of the file before it was changed, whose first axis may be none of a batch."""
    moved = any(isinstance(change, MovedAxis) for change in shown.file.changes)
    return 0 if moved else shown.trial.max_batch_size


def _as_it_came(trial: Trial) -> dict[str, Any]:
    return {"passed": True, "reference": REFERENCE, "cells": [], "runs": list(trial.runs)}


def _manifest(inspected: Inspected, shown: Shown, proven: Proven | None) -> dict[str, Any]:
    file = shown.file
    served = [file.path.parent / name for name in (file.path.name, *inspected.external)]
    states = {"states": dict(shown.states.pairs)} if shown.states.pairs else {}
    return file_manifest(file.model, shown.trial, file.original, served, proven) | states


def file_manifest(
    model: onnx.ModelProto, trial: Trial, original: Path, served: Sequence[Path], proven: Proven | None = None
) -> dict[str, Any]:
    """What is known of a file that came from elsewhere, for its manifest.

    Args:
        model: What is served, without its external data.
        trial: What was shown of it.
        original: The file as it came.
        served: The files of what is served.
        proven: What it was proven against; None is nothing.
    """
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return {
        "format": 1,
        "source": {
            "kind": "onnx file",
            "file": original.name,
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "inputs": trial.inputs,
            "repeatable": trial.repeatable,
            "not_batched_because": trial.note,
            **({"reference": dict(proven.reference)} if proven else {}),
            "shows_little_because": list(trial.doubts),
            "changes": list(trial.changes),
        },
        "opset": opsets.get("ai.onnx"),
        "opsets": opsets,
        "ir_version": model.ir_version,
        "nodes": len(model.graph.node),
        "tolerance": dict(proven.tolerance if proven else TOLERANCES),
        "bytes": sum(file.stat().st_size for file in served),
        "sha256": {"source": sha256_of_file(original)},
        "packages": {"onnxruntime": onnxruntime.__version__},
    }
