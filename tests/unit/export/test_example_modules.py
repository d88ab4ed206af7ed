"""Modules of many habits are exported by an example alone: what goes in and comes out has the names of their keys."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import tyro

from conch.contracts.errors import ConchError
from export.commands.module_choices import ModuleChoices, Prepared, prepare
from export.conversion.convert import EXPORTERS, Exporter, convert
from export.proof.parity import parity_grid
from export.proof.runtime import onnx_predict
from tests.support import example_modules
from tests.support.module_command import Module

pytestmark = pytest.mark.slow

SOURCE = Path(example_modules.__file__)


class Case(NamedTuple):
    """What is served of a module: inputs and outputs as `NAME:DTYPE[AXES]`, the outputs with their place."""

    inputs: list[str]
    outputs: dict[str, Callable[[Any], torch.Tensor]]
    words: str = "--max-batch 3"
    batched: bool = True


CASES: dict[str, Case] = {
    "tensor": Case(["x:float32[batch,4]"], {"output:float32[batch,3]": lambda y: y}),
    "float64_array": Case(["x:float32[batch,4]"], {"output:float32[batch,3]": lambda y: y}),
    "dictionary": Case(
        ["tokens:int64[batch,4]", "mask:int64[batch,4]"],
        {"logits:float32[batch,4,3]": lambda y: y["logits"], "aux.mean:float32[batch,8]": lambda y: y["aux"]["mean"]},
    ),
    "dictionary_of_any_length": Case(
        ["tokens:int64[batch,tokens_1]", "mask:int64[batch,tokens_1]"],
        {"aux.mean:float32[batch,8]": lambda y: y["aux"]["mean"]},
        "--max-batch 2 --output aux.mean --sizes tokens_1=2,4,6",
    ),
    "one_key": Case(["x:float32[batch,4]"], {"y:float32[batch,3]": lambda y: y["y"]}),
    "encoding": Case(
        ["input_ids:int64[batch,time]", "attention_mask:int64[batch,time]"],
        {"logits:float32[batch,3]": lambda y: y["logits"]},
        "--max-batch 2 --open input_ids:1=time --open attention_mask:-1=time --sizes time=1,5",
    ),
    "keywords": Case(
        ["input_ids:int64[batch,3]", "attention_mask:int64[batch,3]"],
        {
            "logits:float32[batch,3]": lambda y: y.logits,
            "hidden_states.0:float32[batch,3,8]": lambda y: y.hidden_states[0],
            "hidden_states.1:float32[batch,3,8]": lambda y: y.hidden_states[1],
        },
    ),
    "a_dataclass": Case(
        ["pair.left:float32[batch,4]", "pair.right:float32[batch,4]"],
        {"left:float32[batch,3]": lambda y: y.left, "right:float32[batch,3]": lambda y: y.right},
    ),
    "a_named_tuple": Case(
        ["x:float32[batch,4]"],
        {"mean:float32[batch,3]": lambda y: y.mean, "deviation:float32[batch,3]": lambda y: y.deviation},
    ),
    "nested": Case(
        ["x:float32[batch,4]"],
        {
            "output_0:float32[batch,3]": lambda y: y[0],
            "output_1.0:float32[batch,3]": lambda y: y[1][0],
            "output_1.2.0:float32[batch,3]": lambda y: y[1][2][0],
            "output_1.2.1.last:float32[batch,3]": lambda y: y[1][2][1]["last"],
        },
    ),
    "a_state": Case(
        ["x:float32[batch,4]", "state.0:float32[batch,5]", "state.1:float32[batch,5]"],
        {"h:float32[batch,5]": lambda y: y[1][0], "c:float32[batch,5]": lambda y: y[1][1],
         "y:float32[batch,5]": lambda y: y[0]},
        "--max-batch 3 --output y --output h --output c",
    ),
    "options": Case(
        ["x:float32[batch,4]", "scale:float32[batch,1]"],
        {
            "output_0:float32[batch,3]": lambda y: y[0],
            "output_1.values:float32[batch]": lambda y: y[1].values,
            "output_1.indices:int64[batch]": lambda y: y[1].indices,
        },
    ),
    "any_keywords": Case(
        ["a:float32[batch,4]", "b:float32[batch,4]"],
        {"a_out:float32[batch,3]": lambda y: y["a"], "b_out:float32[batch,3]": lambda y: y["b"]},
    ),
    "any_arguments": Case(
        ["arrays.0:float32[batch,4]", "arrays.1:float32[batch,4]"],
        {"output_0:float32[batch,3]": lambda y: y[0], "output_1:float32[batch,3]": lambda y: y[1]},
    ),
    "the_same_twice": Case(
        ["x:float32[batch,4]"],
        {"y:float32[batch,3]": lambda y: y["y"], "again:float32[batch,3]": lambda y: y["again"],
         "x_out:float32[batch,4]": lambda y: y["x"]},
    ),
    "two_lengths": Case(
        ["query:float32[batch,query_1,8]", "memory:float32[batch,memory_1,8]"],
        {"output:float32[batch,query_1,8]": lambda y: y},
        "--max-batch 2 --sizes query_1=1,5 --sizes memory_1=2,5",
    ),
    "ascending": Case(["x:float32[batch,4]"], {"output:float32[batch,3]": lambda y: y}),
    "a_scalar": Case(
        ["x:float32[rows,4]"],
        {"y:float32[rows,3]": lambda y: y["y"], "loss:float32[]": lambda y: y["loss"]}, "", batched=False,
    ),
    "a_list_of_rows": Case(
        ["x:float32[2,4]"], {"output_0:float32[3]": lambda y: y[0], "output_1:float32[3]": lambda y: y[1]}, "",
        batched=False,
    ),
    "a_list_of_pictures": Case(
        ["images.0:float32[3,6,6]"],
        {"boxes:float32[1,4]": lambda y: y[0]["boxes"], "scores:float32[1]": lambda y: y[0]["scores"]}, "",
        batched=False,
    ),
}  # fmt: skip


def prepared(name: str, words: str = "") -> Prepared:
    """`conch export module` up to the proof."""
    torch.manual_seed(1)  # what an example draws is the same in each call
    return prepare(tyro.cli(ModuleChoices, args=[f"{SOURCE}:{name}", *shlex.split(words)]), "mine")


@pytest.mark.parametrize("name", CASES)
def test_a_module_is_proven_by_its_example(name: str, tmp_path: Path) -> None:
    """By name, against the module called as its author calls it; by both exporters; and said again by options."""
    case = CASES[name]
    found = prepared(name, case.words)
    served = found.served
    assert [spec(tensor) for tensor in served.inputs] == case.inputs
    assert sorted(spec(tensor) for tensor in served.outputs) == sorted(case.outputs)
    assert served.batched is case.batched
    exporters: tuple[Exporter, ...] = EXPORTERS if not any("_1" in one for one in case.inputs) else ("dynamo",)
    for exporter in exporters:
        path = tmp_path / f"{exporter}.onnx"
        convert(served, path, exporter)
        grid = parity_grid(served, path)
        assert grid.failures == [], exporter
        assert {cell.inputs for cell in grid.cells} >= {"real"}
        compare_with_author(name, case, path, [tensor.name for tensor in served.inputs])
    if options := found.source.get("options"):
        kept = [f"--{word}" for word in case.words.removeprefix("--").split(" --") if word[:6] in ("max-ba", "output")]
        again = prepared(name, " ".join([*options, *kept]))
        assert (again.served.inputs, again.served.outputs) == (served.inputs, served.outputs)
        assert (again.served.sizes, again.served.batched) == (served.sizes, served.batched)
        assert again.source["inputs"] == "random within their ranges, seed 0"
    else:
        assert name in ("a_dataclass", "ascending"), "no word on the command line is a dataclass, or sorts values"


def spec(tensor: Any) -> str:
    """As `--input` has it, without a range."""
    return f"{tensor.name}:{tensor.dtype}[{','.join(map(str, tensor.shape))}]"


def compare_with_author(name: str, case: Case, path: Path, inputs: list[str]) -> None:
    """The file, given the example's tensors by name, answers what the module itself returned for the example."""
    module, example, *_ = getattr(example_modules, name)()
    module.eval()
    with torch.no_grad():
        if name in ("keywords", "any_keywords", "encoding"):
            returned = module(**example)
        elif name == "options":
            returned = module(*example[0], **example[1])
        else:
            returned = module(*example) if isinstance(example, tuple) else module(as_tensor(example))
    leaves = [one for one in torch.utils._pytree.tree_leaves(as_plain(example)) if isinstance(one, torch.Tensor)]
    arrays = {name: tensor.numpy() for name, tensor in zip(inputs, leaves, strict=True)}
    answers = onnx_predict(path)(arrays)
    for output, part in case.outputs.items():
        np.testing.assert_allclose(answers[output.partition(":")[0]], part(returned), rtol=1e-5, atol=1e-6)


def as_tensor(example: Any) -> Any:
    """What the author of a module of floats gives it."""
    return torch.from_numpy(example).float() if isinstance(example, np.ndarray) else example


def as_plain(example: Any) -> Any:
    """In containers that pytrees know."""
    if isinstance(example, example_modules.BatchEncoding):
        return dict(example)
    return [example.left, example.right] if isinstance(example, example_modules.Pair) else as_tensor(example)


SAID: dict[str, tuple[str, str, str]] = {
    "an offer": ("encoding", "", "the module takes other sizes too; to open an axis, add: --open "
                 "input_ids:1=input_ids_1 --open attention_mask:1=input_ids_1"),
    "extremes": ("encoding", "", "values between the example's extremes are proven: input_ids 3 to 49"),
    "options": ("keywords", "--max-batch 4", "  --input 'input_ids:int64[batch,3]<3,49>' --input "
                "'attention_mask:int64[batch,3]' --constant output_hidden_states=true"),
    "a mask of ones": ("dictionary", "", "--input 'mask:int64[batch,4]'"),
    "a tie": ("keywords_of_any_length", "", "  --input 'input_ids:int64[batch,input_ids_1]<3,49>' --input "
              "'attention_mask:int64[batch,input_ids_1]' --sizes input_ids_1=1,3,5,64"),
    "float64": ("float64_array", "", "x: float64 in the example, and the module takes float32"),
    "no batch": ("a_scalar", "", "[] for a batch of 2; its first axis must be the batch; --output NAME leaves it out"),
    "a list": ("a_list_of_rows", "", "without batches: the module returns 3 tensors where batch is 3 and 2 before"),
    "pictures": ("a_list_of_pictures", "", "served without batches: the module refuses 2 rows (RuntimeError: "),
    "refused values": ("ascending", "", "it refuses random values between the example's extremes, and is proven on "
                       "the example's alone: ValueError: not ascending"),
    "no options": ("a_dataclass", "", "no options can say the same: keep the example"),
    "no range": ("ascending", "", "no options can say the same: keep the example"),
}  # fmt: skip


def test_axes_that_time_is_too_short_for_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.modules.example_axes.SECONDS", 0.0)
    told = "\n".join(prepared("encoding").told)
    assert "other sizes were not tried of input_ids:1, attention_mask:1; --open tries one" in told


@pytest.mark.parametrize("case", SAID)
def test_what_was_read_of_an_example_is_told(case: str) -> None:
    name, words, line = SAID[case]
    told = "\n".join(prepared(name, words).told)
    assert line in told


REFUSED: dict[str, tuple[str, str, str]] = {
    "no example": ("Plain", "", "what does the module take? Return an example beside it (return module, example), giv"),
    "both": ("tensor", "--input x:float32[batch,4] --example a.npz", "--example and --input: one of the two"),
    "open and input": ("tensor", "--input x:float32[batch,4] --open x:1=a", "--open and --input: one of the two"),
    "a constant": ("tensor", "--constant a=1", "--constant goes with --input; an example has the arguments that are"),
    "no JSON": ("tensor", "--input x:float32[batch,4] --constant a=True", "--constant a=True: it must be NAME=JSON, "),
    "no such file": ("tensor", "--example none.npz", "--example none.npz: there is no such file"),
    "no example file": ("tensor", "--example none.txt", "--example none.txt: it must be FILE.py:function, FILE.npz, "),
    "no axis": ("tensor", "--open x:2=time", "--open x:2=time: x has 2 axes, allowed are 1 to 1; axis 0 is the b"),
    "the batch": ("tensor", "--open x:0=rows", "allowed are 1 to 1; axis 0 is the batch, which is open"),
    "no input": ("tensor", "--open y:1=time", "--open y:1=time: there is no input 'y', there are ['x']"),
    "no open": ("tensor", "--open x=time", "--open x=time: it must be NAME:AXIS=LABEL, as in tokens:1=time"),
    "a fixed axis": ("tensor", "--open x:1=width", "--open x:1=width: the module takes 4, as the example has, and ref"),
    "a follower": ("encoding", "--open input_ids:1=time", "--open input_ids:1=time: other axes have to follow it; add "
                   "--open attention_mask:1=time"),
    "unequal": ("a_list_of_pictures", "--open images.0:0=a --open images.0:1=a", "axes of one name are equal, and of a"
                " images.0:0 is 3, images.0:1 is 6; give them names of their own"),
    "batches": ("a_scalar", "--max-batch 4", "the other outputs alone, --output NAME, or all without batches, --max-"),
    "no rows": ("a_list_of_pictures", "--max-batch 4", "--max-batch 4: axis 0 of the inputs is no batch, the module "),
    "steps": ("a_list_of_steps", "", "the module returns 5 tensors where x_1 is 5 and 64 before: a graph always has"),
    "an output": ("a_scalar", "--output nothing", "1 names (nothing) for 2 outputs of the module (y, loss); name some"),
    "a size": ("dictionary_of_any_length", "--sizes time=3", "no input has an axis 'time', there are: tokens_1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_an_example_does_not_show_is_refused(case: str) -> None:
    name, words, message = REFUSED[case]
    with pytest.raises(ConchError) as refused:
        prepared(name, words)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["remembers", "counts_in_python"])
def test_a_module_that_remembers_is_not_published(name: str, module: Module, artifacts: Path) -> None:
    code, said = module(name, file=SOURCE)
    assert code == 1, said
    assert not (artifacts / "models").exists()
