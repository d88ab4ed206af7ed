"""What a file computes on a device, against what the weights compute on the CPU; the device may be the CPU itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.versions import latest_version
from export.precision.order import Order
from export.precision.original import original_of
from export.precision.proof import prove_variant
from export.precision.quantizers import quantizers_for
from export.proof.cells import Grid
from export.proof.chain import prove_chain
from export.proof.parity import parity_grid
from export.proof.prove import score_failures
from export.proof.runtime import onnx_predict
from tests.gpu.device import providers
from training.checkpoints.checkpoint import load_checkpoint
from training.predict import in_batches, torch_predict
from training.recipe import Served, Tolerance

TF32 = {
    "float32": Tolerance(1e-2, 1e-2, "TF32 keeps 10 bits of each factor, and every layer rounds anew"),
    "uint8": Tolerance(3, 0, "a hundredth of the range of pixels"),
}
HALF = {
    "float32": Tolerance(1e-2, 2e-2, "fp16 keeps 10 bits, and kernels differ between batch sizes"),
    "uint8": Tolerance(3, 0, "a hundredth of the range of pixels"),
}


def served_of(model: str) -> list[Served]:
    """All that a trained recipe serves."""
    checkpoint = load_checkpoint(model)
    found: list[Served] = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)
    return found


def published(name: str) -> Path:
    """The published ONNX file of a served model."""
    version = latest_version(artifacts_folder() / "models", name)
    assert version is not None, f"{name} is not published"
    return version / "model.onnx"


def grid(served: Served, device: str, tf32: bool = False) -> Grid:
    """The parity grid and error budget of the published file: the tolerance of the export, or that of TF32."""
    judged = replace(served, tolerance={**served.tolerance, **TF32}) if tf32 else served
    file = published(served.name)
    return parity_grid(judged, file, onnx_predict(file, providers=providers(device, tf32)))


def fp32_failures(model: str, device: str) -> Iterator[str]:
    """What keeps the published files of a recipe from computing on the device what the weights do, without TF32."""
    checkpoint = load_checkpoint(model)
    for index, served in enumerate(served_of(model)):
        yield from grid(served, device).failures
        predict = onnx_predict(published(served.name), providers=providers(device))
        if served.states:
            yield from prove_chain(served, predict).failures
        elif index == 0:
            weights = tuple(checkpoint.recipe.score(torch_predict(served), checkpoint.data))
            found = checkpoint.recipe.score(in_batches(predict, served.largest_batch), checkpoint.data)
            yield from score_failures(weights, tuple(found))


def half_failures(model: str, device: str, folder: Path) -> Iterator[str]:
    """What keeps the fp16 file of a recipe from being served on the device: its signature, its rows, its score."""
    checkpoint = load_checkpoint(model)
    served = replace(served_of(model)[0], tolerance=HALF)
    fp32, half = published(served.name), folder / f"{model}.fp16.onnx"
    original = original_of(served, fp32, served.calibration)
    (quantizer,) = quantizers_for(original, Order("fp16", "gpu"))
    quantizer.write(half, quantizer.methods[0], set())
    predict = onnx_predict(half, providers=providers(device))
    yield from prove_variant(original, half, onnx_predict(fp32), predict).failures
    weights = checkpoint.recipe.score(torch_predict(served), checkpoint.data)
    found = checkpoint.recipe.score(in_batches(predict, served.largest_batch), checkpoint.data)
    for one, other in zip(weights, found, strict=True):
        allowed = checkpoint.recipe.allowed_loss.get(one.name)
        if allowed is not None and not allowed.allows(one, other):
            yield f"{one.name} of the fp16 file is {other}, of the weights {one}; it may lose {allowed}"
