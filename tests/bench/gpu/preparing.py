"""Every model of the benchmark to ONNX files in both precisions, checked and published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from conch.contracts.fingerprint import sha256_of_file
from export.conversion.convert import convert
from export.precision.order import Order
from export.precision.original import original_of
from export.precision.quantizers import quantizers_for
from export.proof.parity import parity_grid
from export.proof.runtime import onnx_predict
from serving.repository.publish import publish
from tests.bench.gpu.arithmetic import count
from tests.bench.gpu.plan import PRECISIONS
from tests.bench.gpu.resnet50 import served_resnet50
from tests.bench.gpu.subjects import Files, SubjectError
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.manifest import checkpoint_folder
from training.recipe import Served

ITEMS = 8
"""Inputs that are kept; also the golden ones."""
CHECKED_ROWS = 2
# The parity grid's float64 reference takes seconds an image on ResNet-50: two sizes of batch show a frozen axis.
LARGEST_PROVEN = 2
LARGEST_SERVED = {"resnet50": 128}


def served_model(model: str) -> Served:
    """The module behind `model`: a trained recipe's first, or ResNet-50."""
    if model == "resnet50":
        return served_resnet50(ITEMS)
    checkpoint = load_checkpoint(model)
    served: Served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]
    return served


def prepare(folder: Path, model: str, tell: Callable[[str], None], largest: int | None = None) -> None:
    """Write and publish everything of `model` that is not there yet, made of these weights.

    Args:
        largest: the largest batch that is served, where it is another one than the model's own.

    Raises:
        SubjectError: the ONNX file does not compute what the module computes.
        ConchError, ServingError: no checkpoint, a module that is not exported, or a folder that cannot be written.
    """
    files, served = Files(folder, model), served_model(model)
    served = replace(served, largest_batch=largest or LARGEST_SERVED.get(model, served.largest_batch))
    origin = {"weights": _weights(model), "largest_batch": served.largest_batch}
    if (files.own / "facts.json").exists() and files.facts()["origin"] == origin:
        return
    shutil.rmtree(files.own, ignore_errors=True)
    tell(f"{model}: export, fp32 and fp16")
    fp32 = files.onnx("fp32")
    convert(served, fp32, "dynamo")
    few = {name: array[: LARGEST_PROVEN + 1] for name, array in served.examples.items()}
    grid = parity_grid(replace(served, largest_batch=LARGEST_PROVEN, examples=few), fp32)
    if not grid.passed:
        raise SubjectError(f"{model}: the ONNX file is not what the module computes: {grid.failures[0]}")
    (quantizer,) = quantizers_for(original_of(served, fp32, {}), Order("fp16", "gpu"))
    quantizer.write(files.onnx("fp16"), quantizer.methods[0], set())
    inputs = {tensor.name: np.ascontiguousarray(served.examples[tensor.name][:ITEMS]) for tensor in served.inputs}
    answers = {precision: onnx_predict(files.onnx(precision))(inputs) for precision in PRECISIONS}
    for precision in PRECISIONS:
        name = f"{served.name}_{precision}"
        shutil.rmtree(folder / "models" / name, ignore_errors=True)
        golden = _named("inputs", inputs) | _named("outputs", answers[precision])
        publish(
            files.onnx(precision), name=name, repository=folder / "models", max_batch_size=served.largest_batch,
            manifest={}, parity={}, golden=golden, labels=served.labels,
        )  # fmt: skip
    np.savez(files.own / "inputs.npz", **inputs)
    expected = {name: array[:CHECKED_ROWS] for name, array in answers["fp32"].items()}
    np.savez(files.own / "expected.npz", **expected)
    outputs = {name: (array.dtype.name, array.shape[1:]) for name, array in answers["fp32"].items()}
    facts = {"origin": origin, "fp16": quantizer.describes["kind"], "item": count(served), "outputs": outputs}
    (files.own / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


def _named(kind: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {f"{kind}/{name}": array for name, array in arrays.items()}


def _weights(model: str) -> str:
    """A hash that changes with what is exported."""
    if model == "resnet50":
        return sha256_of_file(Path(__file__).with_name("resnet50.py"))
    return sha256_of_file(checkpoint_folder(model) / "weights.safetensors")
