"""Real held-out inputs and the answers they must get, as export left them beside the model."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from conch.contracts.comparison import Tolerances
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import FILE, GoldenError, read_golden, read_tolerances, read_version_manifest
from conch.contracts.live import config_file, live_folder
from conch.contracts.requests import Requests, read_requests


@dataclass(frozen=True)
class Golden:
    """What is sent of one version's golden.npz, by tensor name; the first axis of each array is the item."""

    model: str
    version: str
    inputs: dict[str, np.ndarray]
    """Text as objects, as tritonclient sends it."""
    outputs: dict[str, np.ndarray]
    tolerance: Tolerances
    sha256: str
    requests: Requests | None = None
    """Their form; None: nothing says, and items are sent in batches."""
    repeatable: bool = True
    """Whether the same inputs have the same answers; others cannot be compared."""

    def __len__(self) -> int:
        return len(next(iter((self.inputs or self.outputs).values())))

    def questions(self, items: list[int], step: int | None = None) -> dict[str, np.ndarray]:
        """A request: the inputs of these items (of one, where there is no batch axis), or of sequences at this step."""
        return {name: self._chosen(array, items, step) for name, array in self.inputs.items()}

    def answers(self, items: list[int], step: int | None = None) -> dict[str, np.ndarray]:
        """The outputs that these items, or sequences at this step, must get."""
        return {name: self._chosen(array, items, step) for name, array in self.outputs.items()}

    def _chosen(self, array: np.ndarray, items: list[int], step: int | None) -> np.ndarray:
        chosen: np.ndarray = array[items] if step is None else array[items, step]
        if self.requests is not None and self.requests.max_batch_size == 0:
            (chosen,) = chosen
        return chosen


@lru_cache(maxsize=256)
def load_golden(artifacts: Path, model: str) -> Golden:
    """The golden answers of the live version of `model` in the repository under `artifacts`; read once a process.

    Only what its config.pbtxt lists is sent and compared, in the shape that it says.

    Raises GoldenError when there is no such version, or its golden.npz is missing, damaged, empty, or of other tensors
    than config.pbtxt lists; ConchError when that cannot be read.
    """
    version = live_folder(artifacts / "models" / model)
    if version is None:
        raise GoldenError(
            f"{artifacts / 'models' / model} holds no version of {model}; `conch export {model}` makes one"
        )
    inputs, outputs = read_golden(version)
    requests = read_requests(config_file(version.parent, int(version.name)))
    if requests is not None:
        inputs = _on_the_wire(inputs, requests.inputs, requests, version)
        outputs = _on_the_wire(outputs, requests.outputs, requests, version)
    return Golden(
        model=model,
        version=version.name,
        inputs={name: array.astype(object) if array.dtype.kind == "U" else array for name, array in inputs.items()},
        outputs=outputs,
        tolerance=read_tolerances(version),
        sha256=sha256_of_file(version / FILE),
        requests=requests,
        repeatable=_source(version).get("repeatable", True),
    )


def _on_the_wire(
    arrays: dict[str, np.ndarray], names: frozenset[str], requests: Requests, version: Path
) -> dict[str, np.ndarray]:
    """Of these names only, in the shapes of requests."""
    path = version / FILE
    if missing := sorted(names - arrays.keys()):
        raise GoldenError(f"{path} has no {', '.join(missing)}, which config.pbtxt lists: publish the model again")
    # Where none is listed the server completes them itself.
    chosen = {name: array for name, array in arrays.items() if name in names or not names}
    for name, dims in requests.reshaped.items():
        if name in chosen:
            chosen[name] = _reshaped(chosen[name], dims, f"{path}: {name}")
    return chosen


def _reshaped(array: np.ndarray, dims: tuple[int, ...], where: str) -> np.ndarray:
    """Each item in the shape that it has on the wire."""
    try:
        return array.reshape(len(array), *dims)
    except ValueError as error:
        got = list(array.shape[1:])
        raise GoldenError(f"{where} has items of {got}, config.pbtxt gives them the dims {list(dims)}") from error


def _source(version: Path) -> dict[str, Any]:
    """Where a version without a recipe comes from, by its manifest."""
    source = read_version_manifest(version).get("source")
    return source if isinstance(source, dict) else {}


@lru_cache(maxsize=16)
def load_chain(artifacts: Path, model: str, whole: str) -> Golden:
    """Whole sequences for `model`, which keeps a state, as `whole` answers them, which keeps none.

    `whole` takes [items, time] and answers [items, time, ...]; request number t of a sequence carries what stands at
    time t, and must be answered with it. The states themselves are the server's, and not in a request.

    Raises GoldenError when either has no golden answers, or they do not fit together.
    """
    own, source = load_golden(artifacts, model), load_golden(artifacts, whole)
    asked, answered = list(own.inputs), list(own.outputs)
    try:
        if not len(asked) == len(source.inputs) == 1:
            raise ValueError("one input each is needed")
        (sequences,) = source.inputs.values()
        inputs = {asked[0]: _steps(sequences, own.inputs[asked[0]])}
        outputs = {name: _steps(source.outputs[name], own.outputs[name]) for name in answered}
    except (KeyError, ValueError) as error:
        raise GoldenError(
            f"the golden answers of {whole} (inputs {', '.join(source.inputs)}, outputs {', '.join(source.outputs)}) "
            f"hold no sequences for {model} (input {', '.join(asked)}, outputs {', '.join(answered)})"
        ) from error
    digest = hashlib.sha256(f"{own.sha256} {source.sha256}".encode()).hexdigest()
    return replace(own, inputs=inputs, outputs=outputs, sha256=digest)


def _steps(sequences: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Sequences [items, time, ...] with each step in the shape of a request for `one` [items, ...].

    Raises ValueError where that cannot be.
    """
    return sequences.reshape(*sequences.shape[:2], *one.shape[1:])


def keeps_state(artifacts: Path, model: str) -> bool:
    """Whether the server keeps a state for this model between requests, by its configuration."""
    requests = load_golden(artifacts, model).requests
    return requests is not None and requests.in_sequences
