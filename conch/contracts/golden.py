"""Golden answers: `golden.npz` of a version, real inputs and the answers they must get.

    inputs/<tensor>, outputs/<tensor>   axis 0 counts items; row i of the inputs gives row i of the outputs
    sequences/inputs/<tensor>, ...      of a model with states: [sequences, steps, ...] without the states, and what
                                        each step must answer where a sequence begins with zeros

Shapes are those on the wire with an axis of items in front; of a model without a batch axis too, whose request is one
item. Triton has no empty shape: a number an item is [items, 1]. Text is of NumPy's own type U, so that no file needs a
pickle.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conch.contracts.comparison import TOLERANCES, Tolerances
from conch.contracts.errors import ConchError

FILE = "golden.npz"
SEQUENCES = "sequences/"
"""Before the names of arrays that hold whole sequences."""

Arrays = dict[str, np.ndarray]


class GoldenError(ConchError):
    """There is nothing to send, or it cannot be trusted; the message is one line and says what to do."""


def sequences_sha256(own: str, whole: str) -> str:
    """What a load of a model with states keeps of its golden answers.

    Args:
        own: SHA-256 of the model's golden answers.
        whole: that of the model which answers whole sequences, with which it is compared.
    """
    return hashlib.sha256(f"{own} {whole}".encode()).hexdigest()


def golden_arrays(inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of a golden.npz from inputs and outputs by tensor name, axis 0 the item."""
    arrays = {f"inputs/{name}": array for name, array in inputs.items()}
    arrays |= {f"outputs/{name}": array for name, array in outputs.items()}
    return {key: _as_kept(array) for key, array in arrays.items()}


def sequence_arrays(inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Arrays:
    """More arrays of a golden.npz, of a model with states: whole sequences [sequences, steps, ...] by tensor name."""
    return {f"{SEQUENCES}{key}": array for key, array in golden_arrays(inputs, outputs).items()}


def _as_kept(array: np.ndarray) -> np.ndarray:
    """As this file has it; what is so already stays."""
    return as_text(array.reshape(-1, 1) if array.ndim == 1 else array)


def as_text(array: np.ndarray) -> np.ndarray:
    """Strings, whether objects or bytes (UTF-8, as on the wire), as NumPy's type U; any other array as it is.

    NumPy's type has no NUL at the end of a string: two that differ in nothing else are the same.
    """
    if array.dtype.kind not in "OS":
        return array
    words = [word.decode(errors="surrogateescape") if isinstance(word, bytes) else str(word) for word in array.flat]
    return np.array(words, dtype=str).reshape(array.shape)


def write_golden(version: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under the names that `golden_arrays` gives them into a version's folder."""
    np.savez_compressed(version / FILE, **{key: _as_kept(array) for key, array in arrays.items()})


def read_golden(version: Path) -> tuple[Arrays, Arrays]:
    """Inputs and outputs by tensor name, axis 0 the item.

    Raises:
        GoldenError: the file is missing, damaged, or has not the same number of items in each array, at least one.
    """
    path = version / FILE
    inputs, outputs = _read(path)
    lengths = {array.shape[:1] for array in (*inputs.values(), *outputs.values())}
    if not outputs or len(lengths) != 1 or lengths & {(0,), ()}:  # a graph of constants has no inputs
        raise GoldenError(f"{path}: needs outputs/, and inputs/ with the same number of items, at least one")
    return inputs, outputs


def read_sequences(version: Path) -> tuple[Arrays, Arrays]:
    """Inputs and outputs of whole sequences by tensor name, [sequences, steps, ...]; both empty where there are none.

    Raises:
        GoldenError: the file is missing or damaged, or its arrays are not of the same sequences and steps.
    """
    inputs, outputs = _read(version / FILE, SEQUENCES)
    if len({array.shape[:2] for array in (*inputs.values(), *outputs.values())}) > 1:
        raise GoldenError(f"{version / FILE}: the arrays of {SEQUENCES} differ in their number of sequences or steps")
    return inputs, outputs


def _read(path: Path, which: str = "") -> tuple[Arrays, Arrays]:
    """The arrays behind `which` and inputs/, and those behind it and outputs/, by what follows."""
    model = path.parent.parent.name
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: _as_kept(array) for key, array in file.items()}  # not every file was written here
    except FileNotFoundError as error:
        raise GoldenError(f"{path} is missing; `conch export {model}` makes it") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise GoldenError(f"{path} is damaged ({error}); `conch export {model}` makes it anew") from error
    inputs, outputs = (
        {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        for prefix in (f"{which}inputs/", f"{which}outputs/")
    )
    return inputs, outputs


def read_tolerances(version: Path) -> Tolerances:
    """What the answers of a version are held to, by dtype: its manifest's, over the documented ones.

    Raises:
        GoldenError: the manifest is damaged.
    """
    try:
        own = read_version_manifest(version).get("tolerance") or {}
        return {**TOLERANCES, **{dtype: (float(far), float(share)) for dtype, (far, share) in own.items()}}
    except (ValueError, TypeError, AttributeError) as error:
        raise GoldenError(f"{version / 'manifest.json'} is damaged ({error})") from error


def read_version_manifest(version: Path) -> dict[str, Any]:
    """A version's manifest.json; empty where there is none. Raises GoldenError where it is damaged."""
    path = version / "manifest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise GoldenError(f"{path} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise GoldenError(f"{path} is damaged (no object)")
    return content
