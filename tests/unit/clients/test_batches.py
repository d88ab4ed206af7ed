"""What may be given as inputs, what is sent of it, and what becomes of the answers."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from clients.batches import batch_of
from clients.documents import parse_metadata
from clients.errors import Unreachable, WrongKind, WrongTensor
from clients.signature import Metadata
from clients.tensors import from_raw, prepared, raw


def model(dtype: str = "FP32", shape: tuple[int, ...] = (-1, 2), most: int = 3) -> Metadata:
    tensors = {
        "inputs": [{"name": "x", "datatype": dtype, "shape": shape}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": shape}],
    }
    return parse_metadata({"name": "model"} | tensors, {"max_batch_size": most})


X = np.arange(16, dtype=np.float32).reshape(8, 2)
READ_ONLY = X[:3].copy()
READ_ONLY.flags.writeable = False


class Tensor:
    """As other libraries' arrays."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return X[:3]


@pytest.mark.parametrize(
    "given",
    [
        X[:3],
        X[:3].astype(">f4"),
        np.asfortranarray(X[:3]),
        np.repeat(X, 2, axis=0)[:6:2],
        X[2::-1][::-1],
        READ_ONLY,
        X[:3].tolist(),
        tuple(map(tuple, X[:3].tolist())),
        [[0, 1], [2, 3], [4, 5]],
        list(X[:3]),
        Tensor(),
    ],
)
def test_any_layout_byte_order_and_list_is_the_same_array(given: Any) -> None:
    batch = batch_of(model(), {"x": given})
    assert raw(batch.inputs["x"]) == X[:3].tobytes()
    assert (batch.size, batch.single) == (3, False)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("FP16", [1, 2.5], np.array([1, 2.5], np.float16)),
        ("BF16", [1, 2.5], np.array([1, 2.5], ml_dtypes.bfloat16)),
        ("UINT64", [2**64 - 1], np.array([2**64 - 1], np.uint64)),
        ("INT8", [-128, 127], np.array([-128, 127], np.int8)),
        ("INT64", 5, np.array(5)),
        ("BOOL", [True, False], np.array([True, False])),
        ("FP32", [float("nan"), float("inf")], np.array([np.nan, np.inf], np.float32)),
        ("FP32", [], np.array([], np.float32)),
        ("BYTES", "Käse", np.array("Käse".encode(), object)),
        ("BYTES", ["Käse", b"nul\0"], np.array(["Käse".encode(), b"nul\0"], object)),
        ("BYTES", np.array(["Käse"]), np.array(["Käse".encode()], object)),
        ("BYTES", np.array(["Käse"], object), np.array(["Käse".encode()], object)),
        ("BYTES", [], np.array([], object)),
    ],
)
def test_what_has_no_type_gets_the_models(dtype: str, value: Any, expected: np.ndarray) -> None:
    array = prepared(value, dtype, "x")
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(from_raw(raw(array), dtype, array.shape), expected)


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("FP32", None, "x is None, needed is an array"),
        ("FP32", [1, None], "x holds None, allowed are values of type FP32|no rectangle|holds None"),
        ("FP32", [[1, 2], [3]], "x is no rectangle of numbers"),
        ("BYTES", ["a", None], "x holds None"),
        ("BYTES", [["a"], ["b", "c"]], r"allowed are str and bytes|no rectangle"),
        ("BYTES", ["a\ud800"], "of which UTF-8 cannot be made"),
        ("BYTES", ["a", 3], "x holds 3 of type int, allowed are str and bytes"),
        ("INT8", [128], "x holds numbers that INT8 does not"),
        ("UINT8", [-1], "x holds numbers that UINT8 does not"),
        ("INT64", [1.5], "x holds numbers that INT64 does not"),
        ("INT64", [2**64 - 1], "x holds numbers that INT64 does not"),
        ("FP16", [1e6], "x holds numbers that FP16 does not"),
        ("FP16", [70000], "x holds numbers that FP16 does not"),
        ("FP32", [2**24 + 1], "x holds numbers that FP32 does not"),
        ("BOOL", [1], "x holds numbers that BOOL does not"),
        ("FP32", [True], "x holds numbers that FP32 does not"),
        ("INT64", [2**70], "x holds numbers that INT64 does not|no rectangle|of type int"),
        ("FP32", {"a": 1}, "FP32|allowed"),
        ("FP32", np.ma.masked_array([1.0], [True]), "x is a masked array"),
    ],
)
def test_what_cannot_be_sent_is_told(dtype: str, value: Any, words: str) -> None:
    with pytest.raises(WrongTensor, match=words):
        prepared(value, dtype, "x")


@pytest.mark.parametrize("value", [["a", "b"], np.array(["a", "b"]), np.ones(2), np.ones(2, int), np.ones(2, object)])
def test_an_array_keeps_its_type_which_must_be_the_models(value: Any) -> None:
    with pytest.raises(WrongTensor, match=r"model: input 'x' (got|holds) .*, allowed (is FP32 \[batch, 2\]|are)"):
        batch_of(model(), {"x": value})


@pytest.mark.parametrize("wrong", [None, [1, 2], "x", X])
def test_inputs_are_by_name(wrong: Any) -> None:
    with pytest.raises(WrongTensor, match="inputs are arrays by name"):
        batch_of(model(), wrong)
    with pytest.raises(WrongTensor, match=r"no input 3, allowed are: x FP32 \[batch, 2\]"):
        batch_of(model(), {3: X})  # type: ignore[dict-item]


def test_one_item_goes_in_and_comes_out_without_a_batch_axis() -> None:
    batch = batch_of(model(), {"x": X[0]})
    (part,) = batch.parts()
    assert part["x"].shape == (1, 2)
    np.testing.assert_array_equal(batch.joined(["y"], [{"y": X[:1] * 2}])["y"], X[0] * 2)
    with pytest.raises(WrongKind, match=r"output 'y' has \[0, 2\] for one item"):
        batch.joined(["y"], [{"y": X[:0]}])


@pytest.mark.parametrize("items", range(9))
def test_parts_are_no_larger_than_the_server_takes_and_come_back_in_order(items: int) -> None:
    batch = batch_of(model(), {"x": X[:items]})
    sizes = [len(part["x"]) for part in batch.parts()]
    assert sum(sizes) == items
    assert all(0 < size <= 3 for size in sizes)
    answer = batch.joined(["y"], [{"y": part["x"] * 2} for part in batch.parts()])["y"]
    np.testing.assert_array_equal(answer, X[:items] * 2)
    assert answer.dtype == np.float32


def test_a_model_without_a_batch_is_sent_as_it_is_and_axes_may_be_empty() -> None:
    for shape, x in ((-1, 2), X), ((-1, 2), X[:0]), ((), X[0, 0]):
        batch = batch_of(model(shape=shape, most=0), {"x": x})
        assert [part["x"].shape for part in batch.parts()] == [x.shape]
        assert batch.joined(["y"], [{"y": x}])["y"] is x
    batch = batch_of(model(shape=(-1, -1)), {"x": np.empty((2, 0), np.float32)})
    assert [part["x"].shape for part in batch.parts()] == [(2, 0)]


def test_answers_that_do_not_fit_together_are_no_answer() -> None:
    batch = batch_of(model(shape=(-1, -1)), {"x": X[:4]})
    with pytest.raises(WrongKind, match=r"different shapes, \[1\] and \[2\], .*send at most 3 at once"):
        batch.joined(["y"], [{"y": X[:3]}, {"y": X[:1, :1]}])
    with pytest.raises(Unreachable, match="came with 2 items where 3 were sent"):
        batch.joined(["y"], [{"y": X[:2]}, {"y": X[:1]}])


@pytest.mark.parametrize(("dtype", "shape"), [("FP32", [3]), ("FP32", [-1]), ("BYTES", [2]), ("NONE", [1])])
def test_bytes_that_are_no_such_array_are_refused(dtype: str, shape: list[int]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_raw(b"\xff\xff\xff\xff\xff", dtype, shape)
