"""Modules of other people that were published wrong, or refused though right."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
import torch

from conch.contracts.errors import ConchError
from export.conversion.cleaning import clean
from export.conversion.exporter_failure import reason
from export.modules.returned import chosen_outputs
from export.proof.runtime import onnx_predict
from tests.support import networks
from tests.support.module_command import Module, published
from training.predict import own_tensors, run_module

pytestmark = pytest.mark.slow

TOKENS = ("--input", "tokens:int64[batch,time]<0,49>", "--sizes", "time=1,3,8")


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_module_that_writes_into_its_input_is_proven_on_the_real_ones(
    module: Module, artifacts: Path, exporter: str
) -> None:
    """Handed its own arrays PyTorch changes nobody else's: a graph without the change is refused."""
    code, said = module("BlanksItsInput", "--input", "x:float32[batch,4]", "--exporter", exporter)
    if exporter == "torchscript":
        assert code == 1
        assert "differs from PyTorch by" in said
        return
    assert (code, said) == (0, "")
    _, _, version = published(artifacts)
    with np.load(version / "golden.npz") as golden:
        assert not (golden["inputs/x"][:, ::2] == 0.25).any()
        assert (golden["outputs/output"][:, ::2] == 0.5).all()


def test_no_run_changes_what_it_was_lent() -> None:
    lent = np.zeros((2, 4), np.float32)
    run_module(networks.BlanksItsInput(), [lent])
    assert not lent.any()
    (own,) = own_tensors([lent[::-1]])
    own += 1
    assert not lent.any()


def test_padding_is_computed_one_way_by_all(module: Module, artifacts: Path, tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(1, 50, (16, 8))
    tokens[:, 5:] = 0
    np.savez(tmp_path / "real.npz", tokens=tokens)
    assert module("Padded", *TOKENS, "--inputs-from", "real.npz") == (0, "")
    manifest, parity, _ = published(artifacts)
    assert manifest["exporter"] == "dynamo"
    nothing = [cell for cell in parity["cells"] if cell["inputs"] == "low"]
    assert all(cell["ambiguous"] == cell["elements"] for cell in nothing), "attention over nothing but padding"
    assert all(cell["ambiguous"] == 0 for cell in parity["cells"] if cell["inputs"] == "real")


def test_random_examples_are_called_so(module: Module, artifacts: Path) -> None:
    assert module("Padded", *TOKENS) == (0, "")
    assert {cell["inputs"] for cell in published(artifacts)[1]["cells"]} == {"random", "low", "high"}


def test_a_cross_attention_is_folded(module: Module, artifacts: Path) -> None:
    words = ("--input", "query:float32[batch,q,8]", "--input", "memory:float32[batch,m,8]")
    assert module("CrossAttention", *words, "--sizes", "q=1,5", "--sizes", "m=1,7") == (0, "")
    manifest, _, version = published(artifacts)
    assert manifest["unclean"] == []
    assert manifest["exporter"] == "dynamo"
    assert "Split" not in {node.op_type for node in onnx.load(version / "model.onnx").graph.node}


@pytest.mark.parametrize("name", ["embedding", "mean", "conch.input.0", "node_embedding"])
def test_an_output_may_be_called_like_a_layer(module: Module, artifacts: Path, name: str) -> None:
    words = ("--input", "tokens:int64[batch,time]<0,9>", "--sizes", "time=1,4", "--output", name)
    assert module("MeanEmbedding", *words) == (0, "")
    manifest, _, version = published(artifacts)
    assert manifest["exporter"] == "dynamo"
    assert [value.name for value in onnx.load(version / "model.onnx").graph.output] == [name]


@pytest.mark.parametrize("words", [("--output", "x"), ("--output", "y", "--output", "y")])
def test_a_name_that_is_taken_is_refused_before_anything_runs(module: Module, words: tuple[str, ...]) -> None:
    network = "Small" if len(words) == 2 else "GivesTwo"
    code, said = module(network, "--input", "x:float32[batch,4]", *words)
    assert code == 1
    assert f"--output {words[-1]}: the name is taken" in said


def test_why_both_exporters_failed_is_said_and_the_rest_is_in_named_files(module: Module, artifacts: Path) -> None:
    code, said = module("Untranslatable", "--input", "x:float32[batch,4]")
    assert code == 1
    assert len(said.splitlines()) == 1
    first, second = (
        said.index("the dynamo exporter failed: DispatchError: No ONNX function found for <OpOverload("),
        (said.index("the torchscript exporter failed: UnsupportedOperatorError: Exporting the operator")),
    )
    assert first < second
    for exporter in ("dynamo", "torchscript"):
        log = artifacts / "exporter-failures" / f"mine-{exporter}.txt"
        assert str(log) in said
        assert "Traceback (most recent call last)" in log.read_text()
        assert "\x1b" not in log.read_text() + said


def test_a_reason_names_the_line_of_the_users_code() -> None:
    def forward() -> None:
        raise ValueError("only squares\n\nFor more information, run with TORCH_LOGS=dynamic")

    def export() -> None:
        try:
            forward()
        except ValueError as error:
            raise RuntimeError("Failed to export the model. \x1b[96mThis is step 1/3\x1b[0m") from error

    with pytest.raises(RuntimeError) as raised:
        export()
    assert reason(raised.value).startswith(f"ValueError: only squares ({__file__}:")


def test_what_is_unclean_is_a_warning(
    module: Module, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("export.proof.prove.findings", lambda _: ["node 'x' (Split) is constant and not folded"])
    assert module("Small", "--input", "x:float32[batch,4]")[0] == 0
    manifest = json.loads((artifacts / "models" / "mine" / "1" / "manifest.json").read_text())
    assert manifest["unclean"] == ["node 'x' (Split) is constant and not folded"]


def test_nodes_of_constants_with_several_outputs_are_folded() -> None:
    """A Split whose parts a TopK reads: each opens the next."""
    text = '<ir_version: 10, opset_import: ["" : 20]> graph (float[batch, 2] x) => (float[batch, 2] y)'
    model = onnx.parser.parse_model(
        f"{text} {{ one, two = Split <axis = 0, num_outputs = 2> (w) best, place = TopK <axis = 0> (two, k) "
        "half = Mul(best, one) part, rest = Split <axis = 0, num_outputs = 2> (half) y = Add(x, part) }"
    )
    model.graph.initializer.extend([
        onnx.numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "w"),
        onnx.numpy_helper.from_array(np.array([2]), "k"),
    ])  # fmt: skip
    x = np.ones((1, 2), np.float32)
    before = onnx_predict(model.SerializeToString())({"x": x})["y"]
    graph = onnx_ir.from_proto(model)
    clean(graph)
    cleaned = onnx_ir.to_proto(graph)
    assert [node.op_type for node in cleaned.graph.node] == ["Add"]
    np.testing.assert_array_equal(onnx_predict(cleaned.SerializeToString())({"x": x})["y"], before)
    assert torch.is_inference_mode_enabled() is False


def test_one_real_item_is_enough_for_a_batch_of_one(module: Module, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=np.ones((1, 4), np.float32))
    assert module("Small", "--input", "x:float32[batch,4]", "--inputs-from", "one.npz", batch=1) == (0, "")


def test_a_module_that_computes_in_bfloat16_is_told_the_way_out(module: Module) -> None:
    code, said = module("AutocastsToBfloat16", "--input", "x:float32[batch,4]")
    assert code == 1
    assert "Could not find an implementation for" in said
    assert "; bfloat16 cannot be served; build the module in float32" in said


RETURNED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "returns None; it must return tensors, alone or in tuples, dictionaries and dataclasses: wrap"),
    "an empty tuple": ((), "returns an empty tuple; it"),
    "a number": ((torch.ones(1), (torch.ones(1),), 3), "'output_2' is an int; serve the others: --output output_0 "
                 "--output output_1.0"),
    "text": ({"note": "hi", "y": torch.ones(1)}, "parts that are no tensors: 'note' is a str; serve the others: "
             "--output y"),
    "an object": (SimpleNamespace(logits=torch.ones(1)), "a SimpleNamespace; it .* as self.model(...).logits"),
    "one name": ({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, "two parts called 'a.b'; give them keys that dif"),
}  # fmt: skip


@pytest.mark.parametrize("case", RETURNED)
def test_what_a_module_returns_beside_tensors_is_named(case: str) -> None:
    returned, message = RETURNED[case]
    with pytest.raises(ConchError, match=re.escape(message).replace(r"\.\*", ".*")):
        chosen_outputs(returned, (), ())
