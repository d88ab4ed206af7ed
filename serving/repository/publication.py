"""Put what is to be published into the model repository: a new version appears whole or not at all.

    <repository>/<name>/config.pbtxt, labels.txt
                        warmup/<version>/ inputs that the server warms up with, see warm_up.py
                        <version>/model.onnx, manifest.json, parity.json, golden.npz
                                  external data files of model.onnx, under the names it gives them

Everything is written in a hidden folder on the same file system, synced to disk and renamed into place. Models that
belong together are published under one number, and the one that names the others last.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc.model_config_pb2 import ModelConfig

from clients.preparation import KEYS
from conch.contracts.ensembles import parts
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import SEQUENCES, write_golden
from conch.contracts.processor import processor
from conch.contracts.versions import latest_version, versions
from conch.contracts.whole import sync_tree
from serving.errors import ServingError
from serving.lint.check import lint_model
from serving.lint.findings import RULES
from serving.repository import sequences, tensorrt, warm_up
from serving.repository.configuration import LABELS_FILE, label_file, model_config, parse, render
from serving.repository.contract import check_same, contract_of, published_contract
from serving.repository.into_place import move_into_place, staging, take_back
from serving.repository.locking import locked

log = logging.getLogger(__name__)

ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class Publication:
    """A version of a model that is to be published."""

    config: ModelConfig
    files: Mapping[str, Path]
    """Of the version's folder, by name; an ONNX model is `model.onnx`."""
    manifest: Mapping[str, Any]
    parity: Any
    golden: Mapping[str, np.ndarray]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    states: Sequence[tuple[str, str]] = ()
    controls: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, np.ndarray] = field(default_factory=dict)
    engines: str | None = None

    @property
    def name(self) -> str:
        """Of the model."""
        return self.config.name


def put(repository: Path, publications: Sequence[Publication], replace_contract: bool) -> list[Path]:
    """Publish all of them as one version; its folders, in their order.

    Args:
        repository: The model repository, made where it does not exist.
        publications: What is named by another comes before it.
        replace_contract: Whether clients may find other tensors, batches or labels than in the version before.

    Raises:
        ServingError: As of `publish`; then nothing is published, of no model.
    """
    names = " and ".join(repr(publication.name) for publication in publications)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with locked(repository), staging(repository) as home:
            if not replace_contract:
                for one in publications:
                    check_same(published_contract(repository / one.name), contract_of(one.config, one.labels), one.name)
            version = max(_next_version(repository / one.name) for one in publications)
            _name_versions(publications, version)
            staged = [_stage(home, repository, one, version) for one in publications]
            _move_all(staged, repository, version)
            return [repository / one.name / str(version) for one in publications]
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(f"cannot publish model {names} in {repository}: {reason}") from error


def _next_version(model: Path) -> int:
    return max(versions(model), default=0) + 1


def _name_versions(publications: Sequence[Publication], version: int) -> None:
    """Have an ensemble name the very version of what is published with it: no step ever meets another's."""
    together = {publication.name for publication in publications}
    for publication in publications:
        for step in publication.config.ensemble_scheduling.step:
            if step.model_name in together:
                step.model_version = version


def _move_all(staged: Sequence[Path], repository: Path, version: int) -> None:
    """One after the other; those that are in place are taken back where one cannot be moved."""
    moved: list[Path] = []
    try:
        for folder in staged:
            move_into_place(folder, repository / folder.name, version)
            moved.append(repository / folder.name)
    except OSError:
        for model in moved:
            take_back(model, version)
        raise


def _stage(home: Path, repository: Path, publication: Publication, version: int) -> Path:
    """Write a model's folder with this version alone into `home`, as it is to be moved."""
    config, staged_model = publication.config, home / publication.name
    _serve_alone_if_changed(publication, latest_version(repository, publication.name))
    if publication.engines is not None:
        tensorrt.accelerate(config, publication.engines, version)
    staged = staged_model / str(version)
    staged.mkdir(parents=True)
    for file, source in publication.files.items():
        (staged / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, staged / file)
    write_golden(staged, publication.golden)
    for folder, contents in (
        (warm_up.FOLDER, warm_up.add_warm_up(config, publication.golden, staged.name)),
        (sequences.INITIAL_FOLDER, sequences.add_initial_states(config, publication.initial, staged.name)),
    ):
        for file, data in contents.items():
            path = staged_model / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (staged_model / "config.pbtxt").write_text(render(config), encoding="utf-8")
    if (text := label_file(publication.labels)) is not None:
        (staged_model / LABELS_FILE).write_text(text, encoding="utf-8")
    _write_json(staged / "manifest.json", _manifest(publication, staged))
    _write_json(staged / "parity.json", publication.parity)
    _refuse_errors(staged_model)
    sync_tree(staged_model)
    return staged_model


def _manifest(publication: Publication, staged: Path) -> dict[str, Any]:
    """What is known of the model, with the hashes of what lies in its folder."""
    hashes: dict[str, Any] = {
        "golden": sha256_of_file(staged / "golden.npz"),
        "config": sha256_of_file(staged.parent / "config.pbtxt"),
    }
    if ONNX_FILE in publication.files:
        hashes["onnx"] = sha256_of_file(staged / ONNX_FILE)
    if named := parts(publication.config):
        hashes["parts"] = {
            str(file.relative_to(staged.parents[1])): sha256_of_file(file)
            for name, number in named.items()
            for file in sorted((staged.parents[1] / name / str(number)).glob("*"))
        }
    if others := {file: sha256_of_file(staged / file) for file in publication.files if file != ONNX_FILE}:
        hashes["external_data"] = others
    return {
        **publication.manifest,
        "model": publication.name,
        "version": int(staged.name),
        "processor": processor(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": {**publication.manifest.get("sha256", {}), **hashes},
    }


def _refuse_errors(staged_model: Path) -> None:
    """Look at what is about to be published as `conch lint` does."""
    findings = lint_model(staged_model)
    errors = [finding for finding in findings if finding.severity == "error"]
    if refused := [str(finding) for finding in errors if not RULES[finding.rule].publishable]:
        raise ServingError(f"nothing was published: {'; '.join(refused)}")
    for finding in errors:
        log.warning("NVIDIA's backend will not load it, Conch's does: %s", finding)
    for finding in findings:
        if finding.severity == "warning":
            log.warning("%s", finding)


def _serve_alone_if_changed(publication: Publication, previous: Path | None) -> None:
    """Limit the model to the newest version where the one before has other inputs or outputs, pictures or first states.

    One configuration describes all versions that a model serves: one with other tensors would fail to load under it,
    and clients would prepare pictures for one with another preparation wrongly.
    """
    if previous is None:
        return
    config, changed = publication.config, []
    if _tensors_of(publication, previous) != _tensors(config):
        changed.append("its inputs or outputs")
    if _pictures(_config_beside(previous)) != _pictures(config):
        changed.append("how its pictures are prepared")
    first = {name: value.tobytes() for name, value in publication.initial.items()}
    if sequences.initial_values(_config_beside(previous), previous.parent) != first:
        changed.append("what its states begin with")
    if changed:
        log.warning(
            "model %r: %s changed, version %s is not served any more", config.name, " and ".join(changed), previous.name
        )
        config.version_policy.latest.num_versions = 1


def _tensors_of(publication: Publication, previous: Path) -> list[tuple[str, int, tuple[int, ...]]]:
    """As `_tensors`, of the version before as it would be configured now; empty where it cannot be served so."""
    config = publication.config
    if ONNX_FILE not in publication.files:
        return [] if (previous / ONNX_FILE).exists() else _tensors(_config_beside(previous))
    try:
        return _tensors(
            model_config(
                previous / ONNX_FILE, config.name, config.max_batch_size, states=publication.states,
                controls=publication.controls,
            )
        )  # fmt: skip
    except ServingError:  # its file is gone, or has no batch axis
        return []


def _config_beside(version: Path) -> ModelConfig:
    """The configuration that a version is served under; an empty one where it cannot be read."""
    try:
        return parse((version.parent / "config.pbtxt").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ServingError):
        return ModelConfig()


def _pictures(config: ModelConfig) -> dict[str, str]:
    """What a configuration says of pictures."""
    return {key: config.parameters[key].string_value for key in KEYS if key in config.parameters}


def _tensors(config: ModelConfig) -> list[tuple[str, int, tuple[int, ...]]]:
    """Name, type and dims of each input, output and state, in order."""
    tensors = [(tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in (*config.input, *config.output)]
    states = config.sequence_batching.state
    return tensors + [(state.input_name, state.data_type, tuple(state.dims)) for state in states]


def check_golden(golden: Mapping[str, np.ndarray], config: ModelConfig) -> None:
    """Raise a `ServingError` unless the golden arrays name exactly the model's tensors and have one row an item; beside
    them may be sequences."""
    golden = {key: array for key, array in golden.items() if not key.startswith(SEQUENCES)}
    tensors = {f"inputs/{t.name}" for t in config.input} | {f"outputs/{t.name}" for t in config.output}
    batching = config.sequence_batching  # not on the wire, but the graph's
    tensors |= {f"inputs/{control.name}" for control in batching.control_input}
    for state in batching.state:
        tensors |= {f"inputs/{state.input_name}", f"outputs/{state.output_name}"}
    if set(golden) != tensors:
        raise ServingError(f"model {config.name!r}: golden has {sorted(golden)}, the model needs {sorted(tensors)}")
    if pickled := [key for key, array in golden.items() if np.asarray(array).dtype == object]:
        raise ServingError(
            f"model {config.name!r}: golden arrays {pickled} hold objects, text has to be of NumPy's type U"
        )
    rows = {key: np.shape(array)[:1] for key, array in golden.items()}
    if len(set(rows.values())) != 1 or () in rows.values():
        counts = {key: row[0] if row else "none" for key, row in rows.items()}
        raise ServingError(f"model {config.name!r}: golden arrays differ in their number of rows: {counts}")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
