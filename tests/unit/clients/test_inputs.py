"""What the commands read: patterns, the standard input, and arrays in files of every form."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.commands.arrays import read_inputs
from clients.commands.exit_codes import BadCommand
from clients.commands.sources import expanded, read_text
from clients.errors import ClientError, UnreadableInput, WrongTensor
from clients.signature import Metadata, TensorSpec


def model(**dtypes: str) -> Metadata:
    """A model with inputs [batch, 2]; texts are [batch, 1]."""
    specs = tuple(TensorSpec(name, kind, (-1, 1 if kind == "BYTES" else 2)) for name, kind in dtypes.items())
    return Metadata("m", ("1",), "", specs, (), 8)


def npy(array: np.ndarray) -> bytes:
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    np.savez(file := io.BytesIO(), **arrays)
    return file.getvalue()


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


ONES = np.ones((3, 2), np.float32)
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [1] * 6}]}
FORMS = {
    "npy": npy(ONES),
    "npz": npz(x=ONES),
    "object": json.dumps({"x": ONES.tolist()}).encode(),
    "integers": json.dumps({"x": ONES.astype(int).tolist()}).encode(),
    "list": json.dumps(ONES.tolist()).encode(),
    "request": json.dumps(REQUEST).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_inputs_of_a_model_come_from_one_file_or_pipe(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "any.name").write_bytes(FORMS[form])
    stdin(monkeypatch, FORMS[form])
    for word in (str(tmp_path / "any.name"), "-"):
        (x,) = read_inputs([word], model(x="FP32")).values()
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, ONES)


@pytest.mark.parametrize(
    ("dtype", "value", "kept"),
    [
        ("UINT8", [[0, 255]], np.array([[0, 255]], np.uint8)),
        ("INT64", [[-(2**63), 1]], np.array([[-(2**63), 1]], np.int64)),
        ("UINT64", [[2**64 - 1, 1]], np.array([[2**64 - 1, 1]], np.uint64)),
        ("FP16", [[0.5, 2]], np.array([[0.5, 2]], np.float16)),
        ("BOOL", [[True, False]], np.array([[True, False]])),
        ("BYTES", [["a", "ä"]], np.array([["a", "ä"]], object)),
        ("FP32", [], np.empty(0, np.float32)),
        ("UINT8", [[0, 256]], WrongTensor),
        ("UINT8", [[-1, 0]], WrongTensor),
        ("INT32", [[0.5, 1]], WrongTensor),
        ("BOOL", [[1, 0]], WrongTensor),
        ("FP32", [[True, False]], WrongTensor),
        ("FP32", [[None, 1]], WrongTensor),
        ("FP32", [[1, 2], [3]], WrongTensor),
        ("FP32", [[[1, 2], [3]], [[4], [5]]], ClientError),
        ("BYTES", [["a", 1]], WrongTensor),
    ],
)
def test_numbers_of_json_become_the_models_type_or_are_refused(
    dtype: str, value: Any, kept: Any, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text(json.dumps(value))
    if isinstance(kept, type):
        with pytest.raises(kept, match=r"x, input 'x'"):
            read_inputs([f"x={tmp_path / 'x'}"], model(x=dtype))
        return
    found = read_inputs([f"x={tmp_path / 'x'}"], model(x=dtype))["x"]
    assert found.dtype == kept.dtype
    np.testing.assert_array_equal(found, kept)


def test_text_is_a_line_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, "shell\nKäse\n[no json\n".encode())
    assert read_inputs(["t=-"], model(t="BYTES"))["t"].tolist() == [["shell"], ["Käse"], ["[no json"]]
    stdin(monkeypatch, b'["a", "b"]')
    assert read_inputs(["t=-"], model(t="BYTES"))["t"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["x=nothing"], UnreadableInput, "no such file: nothing"),
        (["x=folder"], UnreadableInput, "cannot read folder: Is a directory"),
        (["x=noise"], UnreadableInput, "noise is no .npy file and no JSON list, and text is for inputs of BYTES"),
        (["x=broken.npy"], UnreadableInput, r"broken.npy is no .npy file of numbers or strings, or a broken one"),
        (["x=both.npz"], UnreadableInput, r"holds several arrays by name; give it as --input both.npz"),
        (["one.npy"], UnreadableInput, r"one.npy is neither .npz nor a JSON object, .* by name: x, y"),
        (["half.npz"], UnreadableInput, r"half.npz is no .npz file"),
        (["request.json"], UnreadableInput, r"request.json is no KServe request: each input has name, shape and data"),
        (["x=one.npy", "x=one.npy"], BadCommand, "x is given twice"),
        (["both.npz", "x=one.npy"], BadCommand, "x is given twice"),
        (["x="], BadCommand, "expected NAME=FILE, or FILE with all inputs"),
        (["x=-", "y=-"], BadCommand, "the standard input, -, can be read once"),
    ],
)  # fmt: skip
def test_what_is_no_input_is_told(
    words: list[str], error: type[ClientError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    one, both = npy(ONES), npz(x=ONES, y=ONES)
    files = {"noise": b"\x80hello", "broken.npy": one[:-9], "one.npy": one, "both.npz": both, "half.npz": both[:90]}
    for name, content in (files | {"request.json": b'{"inputs": [{"name": "x"}]}'}).items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=says):
        read_inputs(words, model(x="FP32", y="FP32"))


def test_patterns_become_files_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.png", "10.png", "a[1].png", "in/c.png"):
        (tmp_path / name).touch()

    def names(*patterns: str) -> list[str]:
        return [str(path) for path in expanded(map(Path, patterns))]

    assert names("z.png", "?.png", "-") == ["z.png", "a.png", "b.png", "-"]
    assert names("a[1].png") == ["a[1].png"], "a file of that name is meant"
    assert names("**/c.png", f"{tmp_path}/1*.png") == ["in/c.png", f"{tmp_path}/10.png"]
    with pytest.raises(UnreadableInput, match=r"no file matches \*\.jpg"):
        names("*.jpg")
    for words in ([], ["-", "a.png", "-"]):
        with pytest.raises(BadCommand):
            names(*words)


def test_text_of_the_standard_input_loses_the_line_end_that_echo_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, text in {b"The \n": "The ", b"a\n\n": "a\n", b"a\r\n": "a", b"": ""}.items():
        stdin(monkeypatch, content)
        assert read_text(Path("-")) == text
    stdin(monkeypatch, b"\xff")
    with pytest.raises(UnreadableInput, match="the standard input is no UTF-8"):
        read_text(Path("-"))
