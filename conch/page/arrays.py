"""An array of one item from a file that a browser sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from clients.commands.arrays import array_of
from clients.signature import TensorSpec
from clients.strings import TEXT_KINDS, encoded
from conch.page.tensors import item_shape


def read_array(content: bytes, name: str, spec: TensorSpec) -> np.ndarray:
    """One item for `spec`, without a batch axis; a file may have one of 1.

    Raises UnreadableInput and WrongTensor, which name the file.
    """
    array = array_of(content, Path(name), replace(spec, shape=item_shape(spec), batched=False))
    if array.dtype.kind in TEXT_KINDS:
        array = encoded(array, name)
    if spec.batched and array.ndim == len(item_shape(spec)) + 1 and len(array) == 1:
        array = array[0]
    spec.check(array, name, single=spec.batched)
    return array
