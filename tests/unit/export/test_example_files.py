"""`--example`: each kind of file and function says the same, and what is no example is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conch.contracts.errors import ConchError
from export.commands.module_choices import ModuleChoices, Prepared, prepare
from export.modules.example import read_examples
from export.modules.example_files import as_tensors, read_example
from tests.support import example_modules
from tests.unit.export.test_module import Evil

TAGGER = f"{example_modules.__file__}:Tagger"
TOKENS = np.array([[5, 49, 3], [7, 8, 9]])
MASK = np.array([[1, 1, 0], [1, 0, 0]])

PYTHON = """
import numpy as np
import torch

def arrays():
    return {"tokens": np.array([[5, 49, 3], [7, 8, 9]]), "mask": np.array([[1, 1, 0], [1, 0, 0]])}

VALUE = {"tokens": torch.tensor([[5, 49, 3], [7, 8, 9]]), "mask": torch.tensor([[1, 1, 0], [1, 0, 0]])}

def raises():
    raise RuntimeError("no data here")

def words():
    return {"text": "hello"}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of one example, and others of none."""
    monkeypatch.chdir(tmp_path)
    arrays = {"tokens": TOKENS, "mask": MASK}
    np.savez("named.npz", tokens=TOKENS, mask=MASK)
    np.savez("numbered.npz", TOKENS, MASK)
    np.savez("evil.npz", x=np.array([Evil()], dtype=object))
    Path("example.json").write_text(json.dumps({name: array.tolist() for name, array in arrays.items()}))
    Path("ragged.json").write_text('{"tokens": [[1, 2], [3]]}')
    Path("broken.json").write_text("{")
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, "example.pt")
    torch.save({"x": Evil()}, "evil.pt")
    Path("example.py").write_text(PYTHON)
    return tmp_path


def prepared(*examples: str, source: str = TAGGER) -> Prepared:
    return prepare(ModuleChoices(source=source, examples=examples, max_batch=2), "mine")


@pytest.mark.parametrize(
    "example", ["named.npz", "example.json", "example.pt", "example.py:arrays", "example.py:VALUE"]
)
def test_each_kind_of_example_says_the_same(example: str) -> None:
    found = prepared(example)
    assert [(one.name, one.dtype, one.shape) for one in found.served.inputs] == [
        ("tokens", "int64", ("batch", 3)),
        ("mask", "int64", ("batch", 3)),
    ]
    assert (found.served.inputs[0].low, found.served.inputs[0].high) == (3, 49)
    np.testing.assert_array_equal(found.served.examples["tokens"][:2], TOKENS)
    assert found.served.real_examples == 2
    assert len(found.hashes["example"]) == 64
    assert found.source["inputs"] == "the example's (2), then random within their ranges, seed 0"


def test_numbered_arrays_are_arguments_in_their_order() -> None:
    first, second = read_example("numbered.npz")
    np.testing.assert_array_equal(first, TOKENS)
    np.testing.assert_array_equal(second, MASK)


def test_two_files_open_what_differs(folder: Path) -> None:
    np.savez("longer.npz", tokens=np.full((1, 5), 2), mask=np.ones((1, 5), int))
    found = prepared("named.npz", "longer.npz")
    assert [one.shape for one in found.served.inputs] == [("batch", "tokens_1")] * 2
    assert found.served.sizes == {"tokens_1": (1, 3, 5, 64)}
    assert found.served.inputs[0].low == 2
    np.testing.assert_array_equal(found.served.examples["tokens"][:2, :3], TOKENS)
    assert sorted(name for name in found.hashes if name.startswith("example")) == ["example", "example/2"]


RANGES: dict[str, tuple[Any, tuple[float, float]]] = {
    "ids": (torch.tensor([[7, 3]]), (3, 7)),
    "a mask": (torch.tensor([[1, 1]]), (0, 1)),
    "one id": (torch.tensor([[7, 7]]), (7, 7)),
    "pixels": (torch.tensor([[7, 3]], dtype=torch.uint8), (0, 255)),
    "a mask of bytes": (torch.tensor([[0, 1]], dtype=torch.uint8), (0, 1)),
    "switches": (torch.tensor([[True, True]]), (0, 1)),
    "floats": (torch.tensor([[0.1, -3.25]]), (-3.25, 0.1)),
    "probabilities": (torch.tensor([[0.25, 0.75]]), (0.25, 0.75)),
    "a placeholder": (torch.zeros(1, 2), (-1, 1)),
    "one number": (torch.full((1, 2), 0.5), (0.5, 0.5)),
    "a mask that is added": (torch.tensor([[0.0, -torch.inf]]), (-1, 1)),
    "halves": (torch.tensor([[0.1, 2]], dtype=torch.float16), (0.1, 2)),
}


class Same(torch.nn.Module):
    """Gives what it takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


class Sum(torch.nn.Module):
    """Of all that a dictionary holds."""

    def forward(self, parts: dict[Any, torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(parts.values())).sum(0)


@pytest.mark.parametrize("case", RANGES)
def test_ranges_are_the_extremes_of_the_values(case: str) -> None:
    example, expected = RANGES[case]
    read = read_examples(Same().eval(), [example], (), (), 2)
    (tensor,) = read.taken.inputs
    assert (tensor.low, tensor.high) == expected
    drawn = read.taken.examples["x"][read.taken.real :]
    assert np.array(tensor.low, drawn.dtype) <= drawn.min()
    assert drawn.max() <= np.array(tensor.high, drawn.dtype)


REFUSED = {
    "evil.npz": "--example evil.npz cannot be read (ValueError: Object arrays cannot be loaded",
    "evil.pt": "--example evil.pt cannot be read (UnpicklingError: Weights only load failed",
    "ragged.json": "--example ragged.json cannot be read (ValueError: setting an array element with a sequence",
    "broken.json": "--example broken.json cannot be read (JSONDecodeError: Expecting property name",
    "example.py:raises": "example.py:raises raised RuntimeError: no data here",
    "example.py:missing": "example.py has no 'missing'",
    "example.py:words": "the example has no tensor or NumPy array (a dict); it must have what forward takes: a tensor",
    "example.py": "--example example.py: it must be FILE.py:function, FILE.npz, FILE.json or FILE.pt",
}


@pytest.mark.parametrize("example", REFUSED)
def test_what_is_no_example_is_refused(example: str, folder: Path) -> None:
    with pytest.raises(ConchError) as refused:
        prepared(example)
    assert REFUSED[example] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (folder / "evil-was-here").exists()


WRONG: dict[str, tuple[Any, str]] = {
    "bfloat16": (
        torch.ones(1, 2).bfloat16(),
        "the example's tensor is bfloat16; allowed are float32, float64, float16",
    ),
    "complex": ({"x": torch.ones(1, 2) * 1j}, "the example's x is complex64; allowed are float32, float64, float16"),
    "empty": ((torch.ones(0, 2),), "the example's 0 has the shape [0, 2]: nothing"),
    "objects": (np.array([None, 1]), "the example has a NumPy array of object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_served_is_named(case: str) -> None:
    example, message = WRONG[case]
    with pytest.raises(ConchError) as refused:
        as_tensors(example)
    assert message in str(refused.value)


def test_names_that_forward_does_not_have_are_named() -> None:
    np.savez("x.npz", y=np.ones((1, 2), np.float32))
    with pytest.raises(ConchError, match=r"does not take the example: missing a required argument: 'x'"):
        prepared("x.npz", source=f"{__file__}:Same")


def test_inputs_are_given_by_name_in_any_order() -> None:
    """forward(query, memory)."""
    words = ("memory:float32[batch,2,8]", "query:float32[batch,3,8]")
    found = prepare(ModuleChoices(source=TAGGER.replace("Tagger", "Cross"), inputs=words), "mine")
    assert [one.name for one in found.served.inputs] == ["memory", "query"]
    assert [one.shape for one in found.served.outputs] == [("batch", 3, 8)]


def test_keys_become_names_that_every_client_takes() -> None:
    read = read_examples(Sum().eval(), [({"left eye": torch.ones(1, 2), 7: torch.ones(1, 2)},)], (), (), 2)
    assert read.taken.call.names == ("left_eye", "7")
    with pytest.raises(ConchError, match="two inputs are called 'a_b'; give them keys that differ"):
        read_examples(Sum().eval(), [({"a b": torch.ones(1, 2), "a_b": torch.ones(1, 2)},)], (), (), 2)


def test_examples_of_two_kinds_of_calls_are_refused() -> None:
    np.savez("other.npz", tokens=TOKENS.astype(np.int32), mask=MASK)
    with pytest.raises(
        ConchError, match="the examples differ in more than sizes: tokens int64 of 2 axes, mask int64 of"
    ):
        prepared("named.npz", "other.npz")
