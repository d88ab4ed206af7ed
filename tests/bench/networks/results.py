"""What a network reached, read from the artifacts of each step and kept as a file of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.report import evidence
from conch.report.differences import nearest_to_tolerance
from conch.report.evidence import Evidence
from tests.bench import store
from tests.bench.machine import describe_machine
from tests.bench.networks.int8 import Int8
from training.catalogue import find_recipe
from training.checkpoints.manifest import checkpoint_folder, read_manifest


@dataclass(frozen=True)
class Published:
    """One served model."""

    name: str
    nodes: int
    bytes: int
    difference: float | None
    """To PyTorch: the one of the parity grid that uses most of what is allowed."""
    score: dict[str, list[dict[str, Any]]]
    """Of weights, onnx and live, where it was judged."""
    data_type: str = ""
    """Of the output that differs so, on the wire."""


@dataclass(frozen=True)
class Network:
    """One recipe."""

    name: str
    created: str
    data: str
    parameters: int
    training_seconds: float
    load: float
    """The machine's load average when this was gathered."""
    machine: str
    score: list[dict[str, Any]]
    """Of the checkpoint, with its floors."""
    models: list[Published]
    seeds: dict[str, list[dict[str, Any]]]
    """By seed the score of a run of its own."""
    int8: Int8 | None = None
    """What the gate said of it in int8, where it was asked."""


def gather(
    name: str, docs: Path, seeds: Mapping[str, list[dict[str, Any]]] | None = None, int8: Int8 | None = None
) -> Network:
    """What the artifacts say of a network; its picture is copied. Without `seeds` or `int8` what was kept stays.

    Raises:
        ConchError: a step was not done.
    """
    manifest = read_manifest(name)
    kept = _read(name, docs)
    published = [model for model in evidence.gather(artifacts_folder()) if model.recipe == name]
    if not published:
        models = artifacts_folder() / "models"
        raise ConchError(f"no published model of {name} in {models}; make it with: make networks MODEL={name}")
    for picture in ("samples.png", "curves.png"):
        if (checkpoint_folder(name) / picture).is_file():
            (docs / "networks").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkpoint_folder(name) / picture, docs / "networks" / f"{name}.png")
            break
    return Network(
        name=name,
        created=manifest["created"],
        data=manifest["data"]["name"],
        parameters=manifest["parameters"],
        training_seconds=manifest["training_seconds"],
        load=round(os.getloadavg()[0], 1),
        machine=describe_machine(),
        score=manifest["score"],
        models=[_published(model) for model in published],
        seeds=dict(seeds) if seeds is not None else kept.seeds if kept else {},
        int8=int8 or (kept.int8 if kept else None),
    )


def keep(network: Network, docs: Path) -> None:
    """Write it to its file."""
    store.write(docs / "networks" / f"{network.name}.json", asdict(network))


def read_results(names: Iterable[str], docs: Path) -> list[Network]:
    """Those that were kept, in the order of the names."""
    return [found for name in names if (found := _read(name, docs)) is not None]


def _read(name: str, docs: Path) -> Network | None:
    def make(content: dict[str, Any]) -> Network:
        int8 = content.get("int8")
        parts = {"models": [Published(**model) for model in content["models"]], "int8": Int8(**int8) if int8 else None}
        return Network(**content | parts)

    return store.read(docs / "networks" / f"{name}.json", make, f"make networks MODEL={name}")


def _published(model: Evidence) -> Published:
    cell = nearest_to_tolerance(model.parity["cells"])
    score = model.published.get("score") or {}
    return Published(
        name=model.name,
        nodes=model.published["nodes"],
        bytes=model.published["bytes"],
        difference=cell["difference"] if cell else None,
        data_type=model.output_types.get(cell["output"], "") if cell else "",
        score={
            step: metrics
            for step, metrics in {**score, "live": model.live["score"] if model.live else []}.items()
            if metrics
        },
    )  # fmt: skip


def introduction(name: str) -> tuple[str, list[str], str]:
    """Of a recipe's docstring: what it is, its commands, and the paragraphs behind them with the paper."""
    module = __import__(find_recipe(name).__module__, fromlist=["__doc__"])
    paragraphs = str(module.__doc__).strip().split("\n\n")
    commands = [line.strip() for part in paragraphs for line in part.splitlines() if line.startswith("    conch ")]
    prose = [" ".join(part.split()) for part in paragraphs if not part.startswith("    ")]
    return prose[0], commands, "\n\n".join(prose[1:])
