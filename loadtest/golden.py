"""Real held-out inputs and the answers they must get, as export left them beside the model."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from conch.contracts.comparison import Tolerances
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import FILE, GoldenError, read_golden, read_tolerances, read_version_manifest
from conch.contracts.versions import latest_version


@dataclass(frozen=True)
class Golden:
    """The arrays of one version's golden.npz by tensor name; the first axis of each is the item."""

    model: str
    version: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    tolerance: Tolerances
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
    newest = latest_version(artifacts / "models", model)
    if newest is None:
        raise GoldenError(
            f"{artifacts / 'models' / model} holds no version of {model}; `conch export {model}` makes one"
        )
    inputs, outputs = read_golden(newest)
    return Golden(model, newest.name, inputs, outputs, read_tolerances(newest), sha256_of_file(newest / FILE))


@lru_cache(maxsize=16)
def load_chain(artifacts: Path, model: str, whole: str) -> Golden:
    """Whole sequences for `model`, which keeps a state, as `whole` answers them, which keeps none.

    `whole` takes [items, time] and answers [items, time, ...]; request number t of a sequence carries what stands at
    time t, and must be answered with it. The states themselves, which the manifest of `model` names, are the server's.

    Raises GoldenError when either has no golden answers, or they do not fit together.
    """
    own, source = load_golden(artifacts, model), load_golden(artifacts, whole)
    states = read_version_manifest(artifacts / "models" / model / own.version).get("states") or {}
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
    return bool(read_version_manifest(artifacts / "models" / model / golden.version).get("states"))
