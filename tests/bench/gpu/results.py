"""What was measured so far, kept between runs: each cell under its name, of one machine and one set of versions.

<folder>/results.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import git_commit, package_versions
from tests.bench import store
from tests.bench.gpu.device import find_gpu
from tests.bench.machine import describe_machine

PACKAGES = ("torch", "onnxruntime-gpu", "nvidia-pytriton", "tritonclient", "numpy")


@dataclass
class Results:
    """All cells measured, and on what."""

    path: Path
    machine: dict[str, Any] = field(default_factory=dict)
    """The GPU's identity, processor, versions and commit."""
    device: dict[str, float] = field(default_factory=dict)
    """The GPU's peaks, by `tests.bench.gpu.device.peaks`."""
    models: dict[str, Any] = field(default_factory=dict)
    """By model: what one item costs, and how fp16 was made."""
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name: what was measured, and when (`date`)."""

    def keep(self, key: str, result: Mapping[str, Any]) -> None:
        """Add a cell and write the file, so that a run that is ended has lost nothing."""
        self.cells[key] = {**result, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        self.write()

    def write(self) -> None:
        """Replace the file as a whole."""
        store.write(self.path, {name: getattr(self, name) for name in ("machine", "device", "models", "cells")})


def read(path: Path) -> Results:
    """The results in `path`; none where there is no such file.

    Raises:
        ConchError: the file is damaged.
    """
    kept = store.read(path, lambda content: Results(path, **content), "python -m tests.bench.gpu")
    return kept or Results(path)


def this_machine() -> dict[str, Any]:
    """What the figures are of.

    Raises:
        NoGPU: there is none.
    """
    gpu = find_gpu()
    import torch

    cuda = {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}
    return {
        "gpu": gpu,
        "processor": describe_machine(),
        "versions": package_versions(*PACKAGES) | cuda,
        "commit": git_commit(),
    }


def check_same(results: Results, machine: Mapping[str, Any]) -> None:
    """Refuse to add figures of this machine to those of another.

    Raises:
        ConchError: naming what differs. The commit may: a floor that is missed is mended in between.
    """
    for name in ("gpu", "processor", "versions"):
        if results.machine and results.machine[name] != machine[name]:
            raise ConchError(
                f"{results.path} was measured with another {name} ({results.machine[name]}; here {machine[name]}): "
                "delete it to measure anew"
            )
