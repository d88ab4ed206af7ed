"""An input that always has the same value becomes a constant of the file: `--fix sr=16000`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from serving.onnx_files.changes.change import Arrays, Change, ChangeError
from serving.onnx_files.trial_inputs import dtype_of

# Up to this IR version an initializer has to be an input as well; ONNX Runtime then asks for no value.
INITIALIZERS_ARE_INPUTS = 3
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, eq=False)
class FixedInput(Change):
    """The input `name` has become an initializer."""

    name: str
    value: np.ndarray
    exact = False  # a kernel may prepare a constant beforehand, and then sum in another order

    def __str__(self) -> str:
        said = str(self.value.tolist()) if self.value.size <= 4 else f"{self.value.dtype} {list(self.value.shape)}"
        return f"input {self.name!r} fixed to {said}"

    def apply(self, model: onnx.ModelProto) -> None:
        """Move it from the inputs to the initializers."""
        model.graph.initializer.append(numpy_helper.from_array(self.value, self.name))
        if model.ir_version > INITIALIZERS_ARE_INPUTS:
            kept = [value for value in model.graph.input if value.name != self.name]
            del model.graph.input[:]
            model.graph.input.extend(kept)

    def inputs_before(self, inputs: Arrays) -> Arrays:
        """With the value."""
        return {**inputs, self.name: self.value}

    def inputs_after(self, inputs: Arrays) -> Arrays:
        """Without it."""
        return {name: array for name, array in inputs.items() if name != self.name}


def fixed_input(tensor: Any, text: str) -> FixedInput:
    """The change that gives an input one value.

    Args:
        tensor: The input, as `InferenceSession.get_inputs` tells of it.
        text: A number, `true` or `false`, or text, which fills the whole input; or the path of an .npy file.

    Raises:
        ChangeError: The value is not of the input's type or shape, or its axes are open and a number cannot fill them.
    """
    where = f"--fix {tensor.name}={text}"
    try:
        dtype = np.dtype(dtype_of(tensor.type))
    except TypeError as error:
        raise ChangeError(f"{where}: the input takes {tensor.type}, of which no value can be given") from error
    takes = f"the input takes {dtype if dtype.kind != 'O' else 'text'} {list(tensor.shape)}"
    if text.endswith(".npy"):
        return FixedInput(tensor.name, _from_file(Path(text), tensor, dtype, f"{where}: {takes}"))
    if any(not isinstance(size, int) for size in tensor.shape):
        raise ChangeError(f"{where}: {takes}, whose open axes one value does not fill; give an array: VALUE.npy")
    value: Any
    try:
        if dtype.kind == "O":
            value = text
        elif dtype.kind == "b":
            value = BOOLEANS[text.lower()]
        elif dtype.kind in "iu":
            value = int(text, 0)
            if not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:  # NumPy would wrap it around
                raise OverflowError(text)
        else:
            value = float(text)
        return FixedInput(tensor.name, np.full(tensor.shape, value, dtype))
    except (KeyError, ValueError, OverflowError) as error:
        raise ChangeError(f"{where}: {takes}, and {text!r} is no value of that type") from error


def _from_file(file: Path, tensor: Any, dtype: np.dtype, where: str) -> np.ndarray:
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ChangeError(f"{where}; {file} is no readable .npy file ({error})") from error
    if dtype.kind == "O" and array.dtype.kind == "U":
        array = array.astype(object)
    fits = array.ndim == len(tensor.shape) and all(
        not isinstance(size, int) or size == got for size, got in zip(tensor.shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ChangeError(f"{where}; {file} has {array.dtype} {list(array.shape)}")
    return np.asarray(array)
