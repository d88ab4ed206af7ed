"""Arrays by name from an .npz file of the user's."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from conch.contracts.errors import ConchError

Arrays = dict[str, np.ndarray]


def read_arrays(path: Path, flag: str) -> Arrays:
    """The arrays of an .npz file; text as objects, as ONNX Runtime takes it.

    Raises:
        ConchError: it cannot be read, or holds something else than arrays.
    """
    todo = "make one: numpy.savez(path, NAME=array, ...)"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ConchError(f"{flag} {path} is no readable .npz file ({error}); {todo}") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # any zip file opens as one
        raise ConchError(f"{flag} {path} is no readable .npz file; {todo}")
    return {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in arrays.items()}
