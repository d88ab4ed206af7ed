"""Everything that the stages left on disk, put together by model, with the chain of hashes checked link by link."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tritonclient.grpc.model_config_pb2 import DataType

from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import sequences_sha256
from conch.contracts.live import config_file, live_folder
from conch.contracts.requests import read_requests
from serving.errors import ServingError
from serving.repository.configuration import parse


@dataclass(frozen=True)
class Link:
    """One link of the chain: a file or value, its hash, and whether the next stage really used that one."""

    name: str
    sha256: str
    intact: bool
    used_by: str


@dataclass
class Evidence:
    """What is known of one published model."""

    name: str
    version: Path
    published: dict[str, Any]
    parity: dict[str, Any]
    trained: dict[str, Any] | None
    """The manifest of the checkpoint that this version was made from."""
    checkpoint: Path
    """Its folder; there may be another checkpoint in it by now."""
    live: dict[str, Any] | None
    load: dict[str, Any] | None
    load_folder: Path
    chain: list[Link] = field(default_factory=list)
    of_others: tuple[str, ...] = ()
    """What is at hand and was run of another version, a sentence each."""

    @property
    def recipe(self) -> str | None:
        """The recipe it was exported from; None of a module or an ONNX file, which have no checkpoint and no score."""
        return None if "source" in self.published else self.published.get("recipe", self.name)

    @property
    def retrained(self) -> bool:
        """Whether the checkpoint at hand is another one than this version was made from."""
        now = _read(self.checkpoint / "manifest.json") if self.recipe else None
        return now is not None and _weights(now) != self.published.get("sha256", {}).get("weights")

    @property
    def as_it_came(self) -> bool:
        """Whether it is an existing ONNX file: shown to run, with no PyTorch module to compare it with."""
        return bool(self.parity.get("runs"))

    @property
    def has_graph(self) -> bool:
        """Whether it is an ONNX model, and neither an ensemble nor a tokenizer in front of one."""
        return "opset" in self.published and "parts" not in self.published.get("sha256", {})

    @property
    def output_types(self) -> dict[str, str]:
        """Output -> its type on the wire, as UINT8, by the configuration; empty where that cannot be read."""
        try:
            config = parse(_config(self.version).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ServingError):
            return {}
        return {entry.name: DataType.Name(entry.data_type).removeprefix("TYPE_") for entry in config.output}

    @property
    def failures(self) -> list[str]:
        """What does not hold, a sentence each."""
        found = [f"{self.name}: {link.name} is not what {link.used_by} used" for link in self.chain if not link.intact]
        if not self.parity["cells"] and not self.as_it_came:
            found.append(f"{self.name}: it was published without a parity grid")
        elif not self.parity["passed"]:
            found.append(f"{self.name}: the parity grid has failing cells")
        found += (self.live or {}).get("differences", [])
        if self.load is not None and self.load["verdict"] == "BROKEN":
            broken = [promise for promise in self.load["promises"] if promise["verdict"] == "BROKEN"]
            found += [f"{self.name}: {_broken(promise)}" for promise in broken]
        return found

    @property
    def missing(self) -> list[str]:
        """Which steps were not run, or showed nothing."""
        steps = {"training": self.trained, "live score": self.live, "load test": self.load}
        if self.recipe is None:  # there is neither training nor a score
            steps = {"load test": self.load}
        found = [f"{self.name}: no {step}" for step, result in steps.items() if result is None]
        found += [f"{self.name}: {sentence}" for sentence in self.of_others]
        if self.load is not None and self.load["verdict"] == "INVALID":
            reasons = "; ".join(check["says"] for check in self.load["checks"] if not check["ok"])
            found.append(f"{self.name}: no valid load test: {reasons}")
        return found


def gather(artifacts: Path) -> list[Evidence]:
    """The evidence of every model in the repository, of its live version, in the order of their names."""
    repository = artifacts / "models"
    names = sorted(entry.name for entry in repository.iterdir() if entry.is_dir()) if repository.is_dir() else []
    return [_gather_one(artifacts, name, version) for name in names if (version := live_folder(repository / name))]


def _gather_one(artifacts: Path, name: str, version: Path) -> Evidence:
    published = _read(version / "manifest.json") or {}
    # What was published without a recipe has no checkpoint: its own folder holds none of the files of one.
    checkpoint = version if "source" in published else artifacts / "checkpoints" / published.get("recipe", name)
    # The load of a model with states is sequences: the scenario of its name.
    in_sequences = _in_sequences(_config(version), published)
    load_folder = artifacts / "report" / ("load-mix" if in_sequences else "load") / name
    load = _read_run(load_folder / "run.json")
    evidence = Evidence(
        name=name,
        version=version,
        published=published,
        parity=_read(version / "parity.json") or {"passed": False, "cells": []},
        trained=None if "source" in published else _trained(published, checkpoint),
        checkpoint=checkpoint,
        live=_read(artifacts / "report" / "live" / f"{name}.json"),
        load=load if load is None or not in_sequences or _is_of_sequences(load, name) else None,
        load_folder=load_folder,
    )
    _leave_out_others(evidence, _golden(artifacts, evidence, in_sequences))
    evidence.chain = _chain(evidence)
    return evidence


def _is_of_sequences(load: dict[str, Any], name: str) -> bool:
    """Whether the scenario called like this model loads its sequences, and nothing else."""
    parts = load["scenario"]["parts"]
    return [part["model"] for part in parts if part.get("stream")] == [name] and len(parts) == 1


def _config(version: Path) -> Path:
    """What a version is served under."""
    return config_file(version.parent, int(version.name))


def _in_sequences(config: Path, published: dict[str, Any]) -> bool:
    """Whether its requests are parts of sequences, also where its configuration was changed by hand; by its manifest
    where that is gone, which the chain of hashes tells."""
    try:
        requests = read_requests(config)
    except ConchError:
        requests = None
    return "states" in published if requests is None else requests.in_sequences


def _trained(published: dict[str, Any], checkpoint: Path) -> dict[str, Any] | None:
    """The manifest of the checkpoint that a version was made from: the version's own copy, or the one at hand."""
    if "checkpoint" in published:
        copy: dict[str, Any] = published["checkpoint"]
        return copy
    now = _read(checkpoint / "manifest.json")
    return now if now is not None and _weights(now) == published.get("sha256", {}).get("weights") else None


def _weights(manifest: dict[str, Any]) -> str | None:
    digest: str | None = manifest.get("sha256", {}).get("weights")
    return digest


def _leave_out_others(evidence: Evidence, golden: str) -> None:
    """A live score and a load test count for the version whose file or golden answers they name, and for no other."""
    told = []
    if evidence.live is not None and evidence.live["onnx_sha256"] != evidence.published.get("sha256", {}).get("onnx"):
        told.append(f"the live score at hand is of version {evidence.live.get('version', '?')}, another file")
        evidence.live = None
    if evidence.load is not None and evidence.load["golden_sha256"] != golden:
        told.append("the load test at hand is of other golden answers, those of another version")
        evidence.load = None
    evidence.of_others = tuple(told)


def _golden(artifacts: Path, evidence: Evidence, in_sequences: bool) -> str:
    """The hash that a load test of this model keeps of its golden answers.

    A sequence is compared with its own golden sequences, or with what a model without states answers of it as a whole:
    then the hash is of both.
    """
    own: str = evidence.published.get("sha256", {}).get("golden", "")
    if not in_sequences or evidence.load is None:
        return own
    whole_of = evidence.load["scenario"]["parts"][0]["stream"]["answers_of"]
    if whole_of == evidence.name:
        return own
    version = live_folder(artifacts / "models" / whole_of)
    whole = (_read(version / "manifest.json") or {}).get("sha256", {}).get("golden", "") if version else ""
    return sequences_sha256(own, whole)


def _chain(evidence: Evidence) -> list[Link]:
    """Data, settings, weights, ONNX, configuration, golden outputs: each against what the stage after it recorded."""
    trained, published = evidence.trained or {}, evidence.published.get("sha256", {})
    recorded = trained.get("sha256", {})
    chain = [
        Link(key, recorded.get(key, ""), recorded.get(key) == published.get(key), "the export")
        for key in ("data", "settings")
        if trained
    ]
    if evidence.published.get("source", {}).get("kind") == "onnx file" and "source" in published:
        chain.append(Link("the file as it came", published["source"], True, "the publication"))
    if trained and evidence.retrained:
        chain.append(
            Link("weights", published.get("weights", ""), True, "the export; another checkpoint is there by now")
        )
    files = (
        ("weights", evidence.checkpoint / "weights.safetensors", published.get("weights"), "the export"),
        ("onnx", evidence.version / "model.onnx", published.get("onnx"), "the proof"),
        ("config", _config(evidence.version), published.get("config"), "the publication"),
        ("golden", evidence.version / "golden.npz", published.get("golden"), "the proof"),
    )
    outside = published.get("external_data", {}).items()
    files += tuple((file, evidence.version / file, wanted, "the publication") for file, wanted in outside)
    of_parts = published.get("parts", {}).items()
    files += tuple((file, evidence.version.parents[1] / file, wanted, "the whole") for file, wanted in of_parts)
    for name, path, wanted, user in files:
        if name == "onnx" and wanted is None and not evidence.has_graph:
            continue  # an ensemble, or a tokenizer in front of a model
        if name == "weights" and (not trained or evidence.retrained):
            continue  # reported as a step that was not run, or named by hash alone
        found = sha256_of_file(path) if path.is_file() else "missing"
        chain.append(Link(name, found, found == wanted, user))
    if evidence.live is not None:
        chain.append(Link("onnx at the live score", evidence.live["onnx_sha256"], True, "the live score"))
    if evidence.load is not None:
        chain.append(Link("golden answers", evidence.load["golden_sha256"], True, "the load test"))
    return chain


def _read_run(path: Path) -> dict[str, Any] | None:
    """A load run; one written before runs had a verdict is none."""
    run = _read(path)
    return run if run is not None and "verdict" in run else None


def _broken(promise: dict[str, Any]) -> str:
    got = "n too small for a number" if promise["got"] is None else f"got {promise['got']:g}"
    return f"promised {promise['metric']} {promise['limit']:g}, {got}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content
