"""Publish an existing ONNX file as it is: inspected, shown to load and run, and proven where there is a reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime

from clients.preparation import Preparation
from conch.contracts.comparison import TOLERANCES
from serving.onnx_files.inspection import Inspected, inspect_onnx
from serving.onnx_files.signature import open_session, session_signature
from serving.onnx_files.trial import Trial, try_model
from serving.repository.configuration import graph_config
from serving.repository.folder import check_level
from serving.repository.labels import read_labels
from serving.repository.names import check_name
from serving.repository.proofs import Proven
from serving.repository.publish import publish
from serving.repository.tensorrt import check_cache

REFERENCE = "none: published as it came, without a PyTorch reference"


def publish_file(
    onnx_file: Path,
    name: str,
    repository: Path,
    max_batch: int | None = None,
    labels: str | None = None,
    inputs_from: Path | None = None,
    engines: str | None = None,
    preparation: Preparation | None = None,
    replace_contract: bool = True,
    prove: Callable[[int], Proven] | None = None,
) -> tuple[Path, Trial]:
    """Publish `onnx_file` as the next version of `name`; the version's folder, and what was shown of it.

    Args:
        onnx_file: The model; external data files beside it are published along.
        name: Its name in the repository and on the wire.
        repository: The model repository.
        max_batch: The most rows of a batch; None finds out, 0 serves without batches.
        labels: A file of one label a line, `FILE`, or `OUTPUT=FILE` where the model has several outputs.
        inputs_from: An .npz file with real inputs by name; None generates them.
        engines: Turns on TensorRT, as `publish` says.
        preparation: How a client brings a picture to its input; None says nothing of it.
        replace_contract: As `publish` says.
        prove: Proves the file, once it is shown to run, for batches of so many rows; None publishes it as it came.

    Raises:
        ServingError: What keeps the file from being served, in one line. Nothing is published then.
        ConchError: What `prove` raised.
    """
    check_name(name)
    check_level(repository)
    if engines is not None:
        check_cache(engines)
    inspected = inspect_onnx(onnx_file, name)
    named_labels = read_labels(labels, [value.name for value in inspected.model.graph.output]) if labels else {}
    where = f"model {name!r}: {onnx_file}"
    session = open_session(onnx_file, where)
    # Types and shapes, before anything is run.
    graph_config(session_signature(session, inspected.model), name, max_batch or 0, named_labels)
    trial = try_model(session, where, max_batch, inputs_from)
    proven = prove(trial.max_batch_size) if prove else None
    version = publish(
        onnx_file,
        name=name,
        repository=repository,
        max_batch_size=trial.max_batch_size,
        manifest=file_manifest(inspected, trial, onnx_file, proven),
        parity=proven.parity if proven else _as_it_came(trial),
        golden=trial.golden,
        labels=named_labels,
        engines=engines,
        preparation=preparation,
        replace_contract=replace_contract,
    )
    return version, trial


def _as_it_came(trial: Trial) -> dict[str, Any]:
    return {"passed": True, "reference": REFERENCE, "cells": [], "runs": list(trial.runs)}


def file_manifest(inspected: Inspected, trial: Trial, onnx_file: Path, proven: Proven | None = None) -> dict[str, Any]:
    """What is known of a file that came from elsewhere, for its manifest."""
    model = inspected.model
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return {
        "format": 1,
        "source": {
            "kind": "onnx file",
            "file": onnx_file.name,
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "inputs": trial.inputs,
            "repeatable": trial.repeatable,
            "not_batched_because": trial.note,
            **({"reference": dict(proven.reference)} if proven else {}),
        },
        "opset": opsets.get("ai.onnx"),
        "opsets": opsets,
        "ir_version": model.ir_version,
        "nodes": len(model.graph.node),
        "tolerance": dict(proven.tolerance if proven else TOLERANCES),
        "bytes": sum((onnx_file.parent / file).stat().st_size for file in (onnx_file.name, *inspected.external)),
        "packages": {"onnxruntime": onnxruntime.__version__},
    }
