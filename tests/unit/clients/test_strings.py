"""Text in arrays on its way to a server and into a file."""

from pathlib import Path

import numpy as np
import pytest

from clients.commands.arrays import read_inputs
from clients.commands.infer import _write
from clients.errors import UnreadableInput, UnwritableOutput, WrongTensor
from clients.signature import Metadata, TensorSpec
from clients.strings import encoded, storable

TEXTS = ["shell", "Käse", "貝", "", "a\0b"]
TEXT = Metadata("m", ("1",), "", (TensorSpec("text", "BYTES", (-1,)),), (), 0)
BYTES = [text.encode() for text in TEXTS]


def array(*items: object) -> np.ndarray:
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made


@pytest.mark.parametrize(
    "given",
    [
        np.array(TEXTS),
        np.array(TEXTS, dtype=">U9"),
        np.array(BYTES),
        array(*TEXTS),
        array(*BYTES),
        array(TEXTS[0], *BYTES[1:]),
        array(*map(np.str_, TEXTS)),
        array(*map(np.bytes_, BYTES)),
        np.array([[text, "-"] for text in TEXTS])[:, 0],
    ],
    ids=["U", "big-endian", "S", "str", "bytes", "mixed", "np.str_", "np.bytes_", "strided"],
)
def test_every_kind_of_text_becomes_its_bytes(given: np.ndarray) -> None:
    got = encoded(given, "here")
    assert got.dtype == object
    assert got.tolist() == BYTES
    assert {type(item) for item in got} == {bytes}


@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (2, 0), (3, 2, 1)])
def test_the_shape_stays(shape: tuple[int, ...]) -> None:
    given = np.full(shape, "ä")
    assert encoded(given, "").shape == encoded(given.astype(object), "").shape == shape
    assert storable(encoded(given, ""), "").shape == shape
    numbers = np.zeros(shape, np.float16)
    assert encoded(numbers, "") is storable(numbers, "") is numbers


def test_transposed_text_keeps_its_order() -> None:
    given = np.array([["a", "b"], ["c", "d"]]).T
    assert encoded(given, "").tolist() == [[b"a", b"c"], [b"b", b"d"]]


@pytest.mark.parametrize("item", [None, 3, 2.5, ["a"], bytearray(b"a"), "\ud800"])
def test_what_is_no_text_is_refused(item: object) -> None:
    with pytest.raises(WrongTensor, match=r"m: input 'text' holds "):
        encoded(array("a", item), "m: input 'text'")


@pytest.mark.parametrize("items", [[], BYTES, [b"\xff\xfe", b"a"], [b""], [b"\0a"]])
def test_what_a_server_answers_is_kept_without_pickle(tmp_path: Path, items: list[bytes]) -> None:
    _write(tmp_path / "out.npy", storable(array(*items), ""))
    kept = np.load(tmp_path / "out.npy", allow_pickle=False)
    assert encoded(kept, "").tolist() == items
    assert encoded(read_inputs([str(tmp_path / "out.npy")], TEXT)["text"], "").tolist() == items


def test_what_a_file_cannot_keep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnwritableOutput, match="output 'y': a text ends in a NUL byte"):
        storable(array(b"a", b"b\0"), "output 'y'")
    with pytest.raises(UnwritableOutput, match="output 'y': a text ends in a NUL byte"):
        storable(array(b"\xff\0"), "output 'y'")
    with pytest.raises(UnwritableOutput, match=r"pads every text to the longest, which is 39\.1 GiB here"):
        storable(array(*[b"a"] * 9_999, b"a" * 2**20), "output 'y'")


def test_a_file_of_python_objects_is_told_how_to_be_saved(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", array("a", "b"))
    with pytest.raises(UnreadableInput, match=r"holds Python objects, .* save text as strings: array\.astype\(str\)"):
        read_inputs([f"text={tmp_path / 'objects.npy'}"], TEXT)
