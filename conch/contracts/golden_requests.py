"""Requests that a version must answer as its golden.npz says, in the form of its config.pbtxt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conch.contracts.comparison import Tolerances
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import FILE, GoldenError, read_golden, read_tolerances, read_version_manifest
from conch.contracts.live import config_file
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


def golden_of(version: Path) -> Golden:
    """The golden requests of the version in this folder.

    Only what its config.pbtxt lists is sent and compared, in the shape that it says.

    Raises:
        GoldenError: golden.npz is missing, damaged, empty, or of other tensors than config.pbtxt lists.
        ConchError: That cannot be read.
    """
    inputs, outputs = read_golden(version)
    requests = read_requests(config_file(version.parent, int(version.name)))
    if requests is not None:
        inputs = _on_the_wire(inputs, requests.inputs, requests, version)
        outputs = _on_the_wire(outputs, requests.outputs, requests, version)
    return Golden(
        model=version.parent.name,
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
