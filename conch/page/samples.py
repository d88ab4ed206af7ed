"""Golden inputs of a model, where its repository is on this machine: what the page offers to try it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clients.signature import Metadata
from conch.contracts.errors import ConchError
from conch.contracts.golden_requests import golden_of

MOST_SAMPLES = 8


@dataclass(frozen=True)
class Samples:
    """Items by input, without a batch axis, and what one-number outputs were for them; empty where there are none."""

    items: list[dict[str, np.ndarray]] = field(default_factory=list)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    """Axis 0 the item."""

    def of(self, name: str) -> np.ndarray | None:
        """All of one input, where they have one shape."""
        arrays = [item[name] for item in self.items if name in item]
        return np.stack(arrays) if arrays and len({array.shape for array in arrays}) == 1 else None


def samples_of(repository: Path | None, metadata: Metadata) -> Samples:
    """Those of the newest version on the server that the repository has; none that do not fit what the server says."""
    if repository is None:
        return Samples()
    for version in sorted(metadata.versions, key=lambda one: (len(one), one), reverse=True):
        folder = repository / metadata.name / version
        try:
            golden = golden_of(folder)
        except (ConchError, OSError, ValueError):
            continue
        step = 0 if golden.requests is not None and golden.requests.in_sequences else None
        count = min(len(golden), MOST_SAMPLES)
        items = [
            {name: _item(array, metadata) for name, array in golden.questions([n], step).items()} for n in range(count)
        ]
        fitting = [item for item in items if _fits(item, metadata)]
        if fitting:
            return Samples(fitting, golden.outputs)
    return Samples()


def _item(array: np.ndarray, metadata: Metadata) -> np.ndarray:
    return array[0] if metadata.max_batch_size else array


def _fits(item: dict[str, np.ndarray], metadata: Metadata) -> bool:
    if any(spec.name not in item and not spec.optional for spec in metadata.inputs):
        return False
    shapes = {spec.name: spec.shape[1:] if spec.batched else spec.shape for spec in metadata.inputs}
    return all(
        name in shapes
        and len(shapes[name]) == array.ndim
        and all(want in (-1, got) for want, got in zip(shapes[name], array.shape, strict=True))
        for name, array in item.items()
    )
