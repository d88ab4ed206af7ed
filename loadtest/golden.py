"""Real held-out inputs and the answers they must get, as export left them beside the model."""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from conch.contracts.errors import ConchError


class GoldenError(ConchError):
    """There is nothing to send, or it cannot be trusted; the message is one line and says what to do."""


# By dtype: |got - golden| <= absolute + relative * |golden|; what is not named must be equal. For versions whose
# manifest has no tolerance of its own.
Tolerance = dict[str, tuple[float, float]]
TOLERANCE: Tolerance = {"float64": (1e-4, 1e-3), "float32": (1e-4, 1e-3), "float16": (1e-3, 1e-2), "uint8": (1, 0)}


@dataclass(frozen=True)
class Golden:
    """The arrays of one version's golden.npz by tensor name; the first axis of each is the item."""

    model: str
    version: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    tolerance: Tolerance
    sha256: str

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def questions(self, items: list[int], step: int | None = None) -> dict[str, np.ndarray]:
        """A batch: the inputs of these items, or of sequences at this step."""
        return {name: _chosen(array, items, step) for name, array in self.inputs.items()}

    def answers(self, items: list[int], step: int | None = None) -> dict[str, np.ndarray]:
        """The outputs that these items, or sequences at this step, must get."""
        return {name: _chosen(array, items, step) for name, array in self.outputs.items()}


def _chosen(array: np.ndarray, items: list[int], step: int | None) -> np.ndarray:
    chosen: np.ndarray = array[items] if step is None else array[items, step]
    return chosen


@lru_cache(maxsize=16)
def load_golden(artifacts: Path, model: str) -> Golden:
    """The golden answers of the newest version of `model` in the repository under `artifacts`; read once a process.

    Raises GoldenError when there is no such version, or its golden.npz is missing, damaged or empty.
    """
    folder = artifacts / "models" / model
    versions = [path for path in folder.glob("*") if path.is_dir() and path.name.isdigit()]
    if not versions:
        raise GoldenError(f"{folder} holds no version of {model}; `conch export {model}` makes one")
    newest = max(versions, key=lambda path: int(path.name))
    path = newest / "golden.npz"
    inputs, outputs = _read(path, model)
    lengths = {len(array) for array in (*inputs.values(), *outputs.values())}
    if not inputs or not outputs or len(lengths) != 1 or lengths == {0}:
        raise GoldenError(f"{path}: needs inputs/ and outputs/ with the same number of items, at least one")
    return Golden(model, newest.name, inputs, outputs, _tolerance(newest), _digest(path))


@lru_cache(maxsize=16)
def load_chain(artifacts: Path, model: str, whole: str) -> Golden:
    """Whole sequences for `model`, which keeps a state, as `whole` answers them, which keeps none.

    `whole` takes [items, time] and answers [items, time, ...]; request number t of a sequence carries what stands at
    time t, and must be answered with it. The states themselves, which the manifest of `model` names, are the server's.

    Raises GoldenError when either has no golden answers, or they do not fit together.
    """
    own, source = load_golden(artifacts, model), load_golden(artifacts, whole)
    states = _manifest(artifacts / "models" / model / own.version).get("states") or {}
    asked = [name for name in own.inputs if name not in states]
    answered = [name for name in own.outputs if name not in states.values()]
    fits = len(asked) == len(source.inputs) == 1 and set(answered) <= set(source.outputs)
    if not fits or any(array.ndim < 2 for array in (*source.inputs.values(), *source.outputs.values())):
        raise GoldenError(
            f"the golden answers of {whole} (inputs {', '.join(source.inputs)}, outputs {', '.join(source.outputs)}) "
            f"hold no sequences for {model} (input {', '.join(asked)}, outputs {', '.join(answered)})"
        )
    (sequences,) = source.inputs.values()
    question = sequences.reshape(*sequences.shape[:2], *own.inputs[asked[0]].shape[1:])
    digest = hashlib.sha256(f"{own.sha256} {source.sha256}".encode()).hexdigest()
    outputs = {name: source.outputs[name] for name in answered}
    return Golden(model, own.version, {asked[0]: question}, outputs, own.tolerance, digest)


def keeps_state(artifacts: Path, model: str) -> bool:
    """Whether the server keeps a state for this model between requests, by its manifest."""
    golden = load_golden(artifacts, model)
    return bool(_manifest(artifacts / "models" / model / golden.version).get("states"))


def _read(path: Path, model: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise GoldenError(f"{path} is missing; `conch export {model}` makes it") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise GoldenError(f"{path} is damaged ({error}); `conch export {model}` makes it anew") from error

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}

    return under("inputs/"), under("outputs/")


def _tolerance(version: Path) -> Tolerance:
    """What is allowed here, and over it what the manifest says: {"tolerance": {"float32": [absolute, relative]}}."""
    try:
        own = _manifest(version).get("tolerance") or {}
        return TOLERANCE | {dtype: (float(absolute), float(relative)) for dtype, (absolute, relative) in own.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise GoldenError(f"{version / 'manifest.json'} is damaged ({error})") from error


def _manifest(version: Path) -> dict[str, Any]:
    path = version / "manifest.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise GoldenError(f"{path} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise GoldenError(f"{path} is damaged (no object)")
    return content


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
