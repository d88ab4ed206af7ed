"""`conch export module`: any torch.nn.Module is proven and published without a recipe, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from clients.preparation import Preparation, described
from conch.contracts.comparison import TOLERANCES
from serving.repository.configuration import parse
from tests.support import networks
from tests.support.module_command import Module, published

pytestmark = pytest.mark.slow

SMALL = ("--input", "x:float32[batch,4]")
TIMES = ("--input", "x:float32[batch,time,4]", "--sizes", "time=1,5")


@pytest.mark.long
def test_a_resnet_50_at_224(module: Module, artifacts: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = networks.ResNet50().eval()
    assert sum(tensor.numel() for tensor in network.parameters()) == 25_557_032
    save_file(network.state_dict(), tmp_path / "resnet50.safetensors")
    words = ("--input", "image:float32[batch,3,224,224]<-2,2>", "--output", "logits")
    assert module("ResNet50", *words, "--weights", "resnet50.safetensors", batch=2) == (0, "")
    manifest, parity, version = published(artifacts)
    assert parity["passed"]
    assert {(cell["batch"], cell["inputs"]) for cell in parity["cells"]} >= {(1, "random"), (2, "random"), (2, "high")}
    assert manifest["source"]["score"] == "none: a module without a recipe"
    assert manifest["source"]["inputs"] == "random within their ranges, seed 0"
    assert len(manifest["sha256"]["weights"]) == 64
    with np.load(version / "golden.npz") as golden, torch.inference_mode():
        image = golden["inputs/image"][:1]
        expected = network(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(golden["outputs/logits"][:1], expected, rtol=1e-4, atol=1e-4)


def test_a_transformer_encoder_of_any_length(module: Module, artifacts: Path) -> None:
    words = ("--input", "tokens:int64[batch,time]<0,102>", "--output", "logits", "--output", "summary")
    assert module("Encoder", *words, "--sizes", "time=1,2,17,64") == (0, "")
    manifest, parity, version = published(artifacts)
    assert manifest["exporter"] == "dynamo"
    assert {cell["sizes"]["time"] for cell in parity["cells"]} == {1, 2, 17, 64}
    config = parse((version.parent / "config.pbtxt").read_text())
    assert [(t.name, list(t.dims)) for t in config.input] == [("tokens", [-1])]
    assert [(t.name, list(t.dims)) for t in config.output] == [("logits", [-1, 103]), ("summary", [32])]
    assert config.max_batch_size == 3


def test_a_length_that_torchscript_froze_is_not_published(module: Module, artifacts: Path) -> None:
    """It writes the example's batch and length into the reshapes of nn.MultiheadAttention, and says it succeeded."""
    words = ("--input", "tokens:int64[batch,time]<0,102>", "--sizes", "time=2,17", "--exporter", "torchscript")
    code, said = module("Encoder", *words)
    assert code == 1
    assert "nothing was published, the proof failed with the torchscript exporter: batch 1, time 2" in said
    assert not (artifacts / "models").exists()


def test_another_contract_under_the_same_name_is_asked_about(module: Module, artifacts: Path) -> None:
    words = ("--input", "x:float32[batch,2,time]", "--sizes", "time=2,8")
    assert module("Halving", *words) == (0, "")
    code, said = module("Halving", *words, "--output", "half")
    assert code == 1
    assert "output 'half' is new, FP32 [batch, 2, -1]; output 'output' is gone" in said
    assert "--replace-contract" in said
    assert module("Halving", *words) == (0, ""), "the same is not asked about"
    code, _ = module("Halving", *words, "--output", "half", "--replace-contract")
    assert code == 0
    assert sorted(entry.name for entry in (artifacts / "models" / "mine").glob("[0-9]*")) == ["1", "2", "3"]


def test_an_axis_that_follows_otherwise_gets_a_name(module: Module, artifacts: Path) -> None:
    assert module("Halving", "--input", "x:float32[batch,2,time]", "--sizes", "time=2,8,16") == (0, "")
    _, _, version = published(artifacts)
    (output,) = onnx.load(version / "model.onnx").graph.output
    assert [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] == ["batch", 2, "output_2"]


def test_real_inputs_labels_and_torch_weights(module: Module, artifacts: Path, tmp_path: Path) -> None:
    network = networks.Small()
    torch.save(network.state_dict(), tmp_path / "small.pt")
    np.savez(tmp_path / "real.npz", x=np.eye(4, dtype=np.float32))
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    words = ("--torch-weights", "small.pt", "--inputs-from", "real.npz", "--labels", "labels.txt")
    assert module("Small", *SMALL, *words, batch=7) == (0, "")
    manifest, _, version = published(artifacts)
    assert manifest["source"]["inputs"] == "real.npz"
    assert (version.parent / "labels.txt").read_text() == "cat\ndog\nbird\n"
    answers = onnxruntime.InferenceSession(version / "model.onnx").run(None, {"x": np.eye(4, dtype=np.float32)})
    with torch.inference_mode():
        np.testing.assert_allclose(np.asarray(answers[0]), network(torch.eye(4)).numpy(), rtol=1e-5, atol=1e-6)


def test_a_module_itself_is_taken_in_eval_mode(module: Module, artifacts: Path) -> None:
    assert networks.SMALL.training
    assert module("SMALL", *SMALL) == (0, "")
    assert published(artifacts)[0]["source"]["weights"] == "as the module was built"
    assert published(artifacts)[0]["tolerance"].keys() == TOLERANCES.keys()


def test_how_clients_prepare_pictures_is_said(module: Module, artifacts: Path) -> None:
    image = ("--input", "image:uint8[batch,8,8,3]")
    assert module("Brightness", *image, "--picture-fit", "stretch", "--picture-white-level", "1023") == (0, "")
    config = parse((published(artifacts)[2].parent / "config.pbtxt").read_text())
    said = described({key: entry.string_value for key, entry in config.parameters.items()})
    assert said == Preparation("stretch", white_level=1023)


def test_the_oldest_release_decides_opset_and_ir(module: Module, artifacts: Path) -> None:
    assert module("Small", *SMALL, "--triton", "24.04") == (0, "")
    assert published(artifacts)[0]["ir_version"] == 9
    assert module("Small", *SMALL, "--triton", "20.01")[1].startswith("error: ")


REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "no spec": ("Small", ("--input", "x"), "--input x: it must be NAME:DTYPE[AXIS,...]"),
    "a dtype": ("Small", ("--input", "x:float31[batch,4]"), "there is no dtype float31, allowed are float32, float64"),
    "no batch": ("Small", ("--input", "x:float32[4]"), "its first axis must be batch, got [4]"),
    "an axis": ("Small", ("--input", "x:float32[batch,0]"), "an axis is '0', allowed are a size above 0 and a name"),
    "a range": ("Small", ("--input", "x:int64[batch,4]<5,1>"), "<5,1> must go from low to high, within -9.22"),
    "a wide range": ("Small", ("--input", "x:uint8[batch,4]<0,256>"), "within 0 to 255 for uint8"),
    "half a number": ("Small", ("--input", "x:int64[batch,4]<0,1.5>"), "<0,1.5> must be two numbers of int64"),
    "a name twice": ("Small", (*SMALL, *SMALL), "x is given twice"),
    "sizes of nothing": ("Small", (*SMALL, "--sizes", "time=1"), "no input has an axis 'time', there are: none"),
    "sizes": ("Halving", ("--input", "x:float32[batch,2,t]", "--sizes", "t=0"), "it must be AXIS=SIZE,SIZE,..."),
    "another shape": ("Small", ("--input", "x:float32[batch,5]"), "the module fails on x float32 [2, 5]: RuntimeError"),
    "output names": ("Small", (*SMALL, "--output", "a", "--output", "b"), "2 names (a, b) for 1 outputs"),
    "last step": ("LastStep", TIMES, "of 2; its first axis must be the batch, and it is time: the module"),
    "last state": ("LastState", TIMES, "[1, 2, 8] for a batch of 2; its first axis must be the batch, and it is axi"),
    "bfloat16 in": ("Small", ("--input", "x:bfloat16[batch,4]"), "no dtype bfloat16, allowed are float32, float64, "),
    "bfloat16 inside": ("HasBfloat16", SMALL, "; bfloat16 cannot be served; build the module in float32, which holds"),
    "bfloat16 out": ("GivesBfloat16", SMALL, "bool; bfloat16 cannot be served; build the module in float32, which"),
    "no batch out": ("WithoutBatch", SMALL, "output 'output' has the shape [] for a batch of 2; its first axis must"),
    "raising": ("raises", SMALL, "raised RuntimeError: no configuration file"),
    "no module": ("number", SMALL, "returned a int; it must return a torch.nn.Module"),
    "no such name": ("nothing", SMALL, "networks.py has no 'nothing'"),
    "no batches": ("Small", (*SMALL, "--max-batch", "-1"), "--max-batch -1: it must be at least 1, or 0 to serve wi"),
    "a folder name": ("Small", (*SMALL, "--name", "../up"), "model name '../up' is no safe folder name"),
    "no weights": ("Small", (*SMALL, "--weights", "none.safetensors"), "--weights none.safetensors cannot be read"),
    "missing names": ("Small", (*SMALL, "--weights", "half.safetensors"), "file lacks linear.bias; the module lacks x"),
    "other shapes": ("Small", (*SMALL, "--weights", "wide.safetensors"), "linear.weight is [3, 9] in the file and ["),
    "a lying header": ("Small", (*SMALL, "--weights", "lying.safetensors"), "is no sound safetensors file ("),
    "a short header": ("Small", (*SMALL, "--weights", "short.safetensors"), "is no sound safetensors file ("),
    "a pickle": ("Small", (*SMALL, "--weights", "evil.pt"), "is no sound safetensors file ("),
    "an evil pickle": ("Small", (*SMALL, "--torch-weights", "evil.pt"), "evil.pt is no file of tensors alone ("),
    "no state": ("Small", (*SMALL, "--torch-weights", "list.pt"), "holds a list; it must be a module's state_dict()"),
    "no npz": ("Small", (*SMALL, "--inputs-from", "evil.pt"), "evil.pt is no readable .npz file"),
    "other arrays": ("Small", (*SMALL, "--inputs-from", "other.npz"), "has the arrays ['y'], the inputs are ['x']"),
    "their dtype": ("Small", (*SMALL, "--inputs-from", "double.npz"), "x is float64 [2, 4], declared is float32"),
    "pictures": ("Small", (*SMALL, "--picture-fit", "crop"), "needs one input UINT8 [batch, height, width, 1 or 3]"),
    "a white": ("Small", (*SMALL, "--picture-white-level", "0"), "picture_white_level is 0, allowed is 'full range'"),
    "labels": ("Small", (*SMALL, "--labels", "none.txt"), "--labels none.txt: cannot read none.txt (No such file"),
}  # fmt: skip


class Evil:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil-was-here"),)


def write_bad_files(folder: Path) -> None:
    """The files that `REFUSED` names."""
    good = networks.Small().state_dict()
    save_file({"linear.weight": good["linear.weight"], "x": torch.ones(1)}, folder / "half.safetensors")
    save_file({"linear.weight": torch.ones(3, 9), "linear.bias": good["linear.bias"]}, folder / "wide.safetensors")
    header = json.dumps({"linear.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 4000]}}).encode()
    (folder / "lying.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(48))
    (folder / "short.safetensors").write_bytes((2**40).to_bytes(8, "little") + header)
    torch.save({"linear.weight": Evil()}, folder / "evil.pt")
    torch.save([torch.ones(1)], folder / "list.pt")
    np.savez(folder / "other.npz", y=np.ones((2, 4), np.float32))
    np.savez(folder / "double.npz", x=np.ones((2, 4)))


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused(case: str, module: Module, artifacts: Path, tmp_path: Path) -> None:
    write_bad_files(tmp_path)
    network, words, message = REFUSED[case]
    code, said = module(network, *words)
    assert code == 1
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (artifacts / "models").exists()
    assert not (tmp_path / "evil-was-here").exists()


def test_rows_that_influence_each_other_are_not_published(module: Module, artifacts: Path) -> None:
    code, said = module("MixesRows", *SMALL)
    assert code == 1
    assert "answers the second of two items otherwise than that item alone: output 'output' differs by" in said
    code, said = module("TimeFirst", "--input", "x:float32[batch,time,4]", "--sizes", "time=1,5")
    assert code == 1
    assert "(time first: batch_first=True, or transpose in the module)" in said
    assert not (artifacts / "models").exists()
