"""int8 and fp16 variants: the gate passes them, mends them or publishes nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import export.__main__
from conch.contracts.errors import ConchError
from export.conversion.convert import convert
from export.precision.gate import PrecisionRefused
from export.precision.judge import RecipeJudge, held_out_items
from export.precision.order import Order
from export.precision.original import original_of
from export.precision.quantizers import quantizers_for
from export.precision.recipe_variant import export_variant, is_variant_up_to_date
from export.precision.target import TargetName
from export.proof.runtime import onnx_predict
from export.publication.pipeline import export_checkpoint
from tests.support.precision_recipe import write_bright_recipe
from tests.support.trained import train_recipe
from training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from training.recipe import AllowedLoss, Metric

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trained recipe, its artifacts, and its fp32 file: made once, copied by each test."""
    folder = tmp_path_factory.mktemp("bright")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder / "artifacts"))
        checkpoint = train_recipe(write_bright_recipe(folder))
    convert(checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0], folder / "fp32.onnx", "dynamo")
    return folder


@pytest.fixture
def checkpoint(plain: Path, tmp_path: Path, artifacts: Path) -> Checkpoint:
    """The trained recipe, in an artifacts folder of the test's own."""
    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    return load_checkpoint(str(tmp_path / "bright.py"))


def nothing_may_pass(folder: Path) -> Path:
    """Change the recipe so that accuracy has to grow."""
    return write_bright_recipe(folder, allowed=-1.0)


def manifest_of(version: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((version / "manifest.json").read_text())
    return manifest


def test_int8_that_keeps_the_score_is_published_under_its_own_name(checkpoint: Checkpoint, artifacts: Path) -> None:
    variant = export_variant(checkpoint, Order("int8", "x86-vnni"), even_if_slower=True)
    assert variant.version == artifacts / "models" / "bright_int8" / "1"
    manifest = manifest_of(variant.version)
    assert (manifest["precision"], manifest["recipe"], manifest["variant"]["kept_in_fp32"]) == ("int8", "bright", [])
    assert {one["method"] for one in manifest["variant"]["tries"]} == {"entropy", "percentile", "min-max"}
    assert manifest["score"]["onnx"][0]["value"] >= manifest["score"]["weights"][0]["value"] - 0.5
    assert manifest["variant"]["size_ratio"] < 0.6
    parity = json.loads((variant.version / "parity.json").read_text())
    assert parity["passed"]
    assert {cell["batch"] for cell in parity["cells"]} == {1, 2, 3, 7, 8}
    assert max(cell["difference"] for cell in parity["cells"]) > 0
    with np.load(variant.version / "golden.npz") as golden:
        own = onnx_predict(variant.version / "model.onnx")({"image": golden["inputs/image"]})
        np.testing.assert_allclose(golden["outputs/probabilities"], own["probabilities"], atol=1e-6)
    assert is_variant_up_to_date(checkpoint, Order("int8", "x86-vnni"), False, None, artifacts / "models")
    assert not is_variant_up_to_date(checkpoint, Order("int8", "arm"), False, None, artifacts / "models")


def test_a_variant_can_be_the_next_version(checkpoint: Checkpoint, artifacts: Path) -> None:
    export_checkpoint(checkpoint)
    variant = export_variant(checkpoint, Order("fp16", "x86-vnni"), next_version=True)
    assert variant.version == artifacts / "models" / "bright" / "2"
    model = onnx.load(variant.version / "model.onnx")
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in model.graph.initializer}
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_layers_that_int8_ruins_are_kept_in_fp32(tmp_path: Path, artifacts: Path) -> None:
    checkpoint = train_recipe(write_bright_recipe(tmp_path, stretch=1e5))
    variant = export_variant(checkpoint, Order("int8", "x86-vnni"), even_if_slower=True)
    manifest = manifest_of(variant.version)["variant"]
    assert 1 <= len(manifest["kept_in_fp32"]) < manifest["layers"]
    failed = [one for one in manifest["tries"] if one["failures"]]
    assert len(failed) >= 3
    assert "may be lost" in failed[0]["failures"][0]
    assert manifest["tries"][-1]["failures"] == []


def test_what_never_passes_is_not_published_and_the_tries_are_shown(
    checkpoint: Checkpoint, tmp_path: Path, artifacts: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    nothing_may_pass(tmp_path)
    monkeypatch.setattr("sys.argv", ["export", str(tmp_path / "bright.py"), "--precision", "int8"])
    assert export.__main__.main() == 1
    out, err = capfd.readouterr()
    assert all(method in out for method in ("entropy", "percentile", "min-max"))
    assert "nothing was published" in err
    assert err.strip().count("\n") == 0
    assert not (artifacts / "models").exists()


@pytest.mark.parametrize(("target", "refused"), [("x86", True), ("x86-vnni", True), ("arm", False), ("gpu", False)])
def test_int8_that_is_slower_here_is_refused_where_here_says_something(
    checkpoint: Checkpoint, artifacts: Path, monkeypatch: pytest.MonkeyPatch, target: TargetName, refused: bool
) -> None:
    monkeypatch.setattr("export.precision.gate.speedup", lambda *_: 0.43)
    monkeypatch.setattr("export.precision.target.platform.machine", lambda: "x86_64")
    if refused:
        with pytest.raises(
            PrecisionRefused, match=r"runs 0\.43 times as fast as fp32 here .* --even-if-slower"
        ) as slow:
            export_variant(checkpoint, Order("int8", target))
        assert any(not one.failures for one in slow.value.tries)
        assert not (artifacts / "models").exists()
    else:
        assert export_variant(checkpoint, Order("int8", target)).chosen.speedup == 0.43


@pytest.mark.parametrize(("items", "told"), [(30, True), (100_000, False)])
def test_what_few_held_out_items_cannot_tell_is_said(checkpoint: Checkpoint, items: int, told: bool) -> None:
    data = Counted({}, range(items))
    judged = replace(checkpoint, data=data, recipe=SimpleNamespace(allowed_loss={"accuracy": AllowedLoss(0.5)}))  # type: ignore[arg-type]
    sentences = RecipeJudge(judged, "bright", 8, (Metric("accuracy", 90.0, "%"), Metric("loss", 0.1))).cannot_tell()
    assert bool(sentences) is told
    if told:
        assert sentences == [
            "accuracy is judged on 30 held-out items, where chance alone moves it by 11.0 points: whether 0.5 was lost "
            "it cannot tell"
        ]


def test_every_group_is_tried_before_it_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = nothing_may_pass(tmp_path)
    with pytest.raises(PrecisionRefused) as refused:
        export_variant(load_checkpoint(str(path)), Order("int8", "x86-vnni"))
    counts = [len(one.kept) for one in refused.value.tries]
    assert counts == [0, 0, 0, *range(1, max(counts) + 1)]
    assert max(counts) == 4  # of five layers: the first is too narrow for int8, and one is left at the end


@pytest.mark.parametrize(
    ("target", "activations"),
    [("x86-vnni", TensorProto.UINT8), ("x86", TensorProto.UINT8), ("arm", TensorProto.INT8), ("gpu", TensorProto.INT8)],
)
def test_the_target_chooses_the_activations_type(
    checkpoint: Checkpoint, tmp_path: Path, target: TargetName, activations: int
) -> None:
    model = quantized(checkpoint, tmp_path, target)
    points = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    types = {points[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert types == {activations}


def test_only_training_inputs_calibrate(checkpoint: Checkpoint, tmp_path: Path) -> None:
    as_it_is = quantized(checkpoint, tmp_path, "x86-vnni")
    other_examples = quantized(checkpoint, tmp_path, "x86-vnni", examples={"image": np.zeros((32, 8, 8, 1), np.uint8)})
    other_training = quantized(
        checkpoint, tmp_path, "x86-vnni", calibration={"image": np.zeros((32, 8, 8, 1), np.uint8)}
    )
    assert as_it_is == other_examples
    assert as_it_is != other_training


def test_no_calibration_inputs_is_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ConchError, match=r"no training inputs to calibrate int8 with for image"):
        quantized(checkpoint, tmp_path, "x86-vnni", calibration={})


def quantized(checkpoint: Checkpoint, folder: Path, target: TargetName, **changes: Any) -> onnx.ModelProto:
    """The recipe's file in int8, ranges by min-max."""
    served = replace(checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0], **changes)
    fp32, path = folder / "fp32.onnx", folder / "int8.onnx"
    shutil.rmtree(folder / "prepared", ignore_errors=True)  # with the ranges that were measured
    (quantizer,) = quantizers_for(original_of(served, fp32, served.calibration), Order("int8", target))
    quantizer.write(path, "min-max", set())
    return onnx.load(path)


def test_a_loss_is_counted_in_the_direction_of_the_metric() -> None:
    bits = Metric("bits", 2.0, higher_is_better=False)
    one_percent = AllowedLoss(0.01, relative=True)
    assert one_percent.allows(bits, replace(bits, value=2.019))
    assert not one_percent.allows(bits, replace(bits, value=2.021))
    assert one_percent.allows(bits, replace(bits, value=1.0))
    assert not one_percent.allows(bits, replace(bits, value=float("nan")))
    accuracy = Metric("accuracy", 99.0, "%")
    assert AllowedLoss(0.5).allows(accuracy, replace(accuracy, value=98.5))
    assert not AllowedLoss(0.5).allows(accuracy, replace(accuracy, value=98.4))


class Counted:
    """Data that say of themselves what they like."""

    def __init__(self, said: dict[str, Any], held_out: Any) -> None:
        self.said, self.held_out = said, held_out

    def describe(self) -> dict[str, Any]:
        return self.said


@pytest.mark.parametrize(
    ("said", "held_out", "items"),
    [
        ({"held_out": 30}, object(), 30), ({}, [1, 2], 2), ({}, object(), 0), ({"held_out": "a stream"}, iter([1]), 0),
    ],
)  # fmt: skip
def test_held_out_items_are_counted_whatever_holds_them(said: dict[str, Any], held_out: Any, items: int) -> None:
    assert held_out_items(Counted(said, held_out)) == items
