"""Put a proven ONNX file into the model repository: a new version appears whole or not at all.

    <repository>/<name>/config.pbtxt, labels.txt
                        warmup/<version>/ inputs that the server warms up with, see warm_up.py
                        <version>/model.onnx, manifest.json, parity.json, golden.npz
                                  external data files of model.onnx, under the names it gives them

Everything is written in a hidden folder on the same file system, synced to disk and renamed into place.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from clients.preparation import KEYS, Preparation
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import SEQUENCES, write_golden
from conch.contracts.processor import processor
from conch.contracts.scheduling import Scheduling
from conch.contracts.versions import latest_version, versions
from conch.contracts.whole import sync_tree
from serving.errors import ServingError
from serving.lint.check import lint_model
from serving.lint.findings import RULES
from serving.onnx_files.custom_operators import LIBRARY, installed_library, uses_custom_operators
from serving.onnx_files.inspection import inspect_onnx
from serving.repository import sequences, tensorrt, warm_up
from serving.repository.class_labels import name_classes
from serving.repository.configuration import LABELS_FILE, label_file, model_config, opened_config, parse, render
from serving.repository.contract import check_same, contract_of, published_contract
from serving.repository.folder import check_level
from serving.repository.into_place import move_into_place, staging
from serving.repository.locking import locked
from serving.repository.names import check_name
from serving.repository.queueing import promised_s, set_scheduling
from serving.repository.speed import requests_per_s

log = logging.getLogger(__name__)
PLAIN = Scheduling()


def publish(
    onnx_file: Path,
    *,
    name: str,
    repository: Path,
    max_batch_size: int,
    manifest: Mapping[str, Any],
    parity: Any,
    golden: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str]] | None = None,
    class_labels: Mapping[str, Sequence[str]] | None = None,
    states: Sequence[tuple[str, str]] = (),
    controls: Mapping[str, str] = sequences.NO_CONTROLS,
    initial_states: Mapping[str, np.ndarray] | None = None,
    engines: str | None = None,
    preparation: Preparation | None = None,
    parameters: Mapping[str, str] | None = None,
    replace_contract: bool = True,
    scheduling: Scheduling = PLAIN,
) -> Path:
    """Publish `onnx_file` as the next version of model `name` and return the version's folder.

    Args:
        onnx_file: The model. Its external data files, where it has any, are published along.
        name: The model's folder and its name on the wire: letters, digits, `_`, `.` and `-`.
        repository: The model repository, made where it does not exist.
        max_batch_size: The most items in one run; 0 for a model without a batch axis.
        manifest: What is known of the model (JSON). `model`, `version`, `created` (UTC, ISO 8601) and, under
            `sha256`, `onnx`, `golden`, `config` and (file -> hash) `external_data` are added.
        parity: The parity grid (JSON).
        golden: `inputs/<tensor>` and `outputs/<tensor>` -> array whose first axis counts items: row i of the inputs
            gives row i of the outputs; and of a model with states `sequences/...`, see `conch/contracts/golden.py`.
        labels: Output name -> the labels of its last axis, which the server attaches.
        class_labels: Output name -> the names of the classes whose numbers are its values, which clients read.
        states: Input and output name of each tensor that the server keeps for a sequence of requests.
        controls: Input name -> `start`, `end` or `ready`, of what the graph asks to be told of a request.
        initial_states: Input name of a state -> its first value, without the batch axis; zeros where there is none.
        engines: Turns on TensorRT with fp16: the folder for its engines, an absolute path as the server sees it.
        preparation: How a client brings a picture to the model's input; None says nothing of it.
        parameters: What else the configuration says to clients, by key.
        replace_contract: Whether clients may find other tensors, batches or labels than in the version before.
        scheduling: How requests wait; what it leaves open follows from the promise of `name`, as `conch load` finds
            it, and from how fast the model runs here.

    Raises:
        ServingError: Another contract without `replace_contract`, a name that is no safe folder name, a model that
            cannot be served or in which `conch lint` finds an error, golden arrays that do not fit it, or a repository
            that cannot be written. Nothing half-written is left.
    """
    check_name(name)
    check_level(repository)
    if engines is not None:
        tensorrt.check_cache(engines)
    labels = labels or {}
    external, own_operators = _looked_into(onnx_file, name)
    config, session = opened_config(onnx_file, name, max_batch_size, labels, states, controls)
    if preparation is not None:
        _describe_pictures(config, preparation)
    name_classes(config, class_labels or {})
    for key, value in (parameters or {}).items():
        config.parameters[key].string_value = value
    operators = _custom_operators(config) if own_operators else {}
    files = {"model.onnx": onnx_file} | {file: onnx_file.parent / file for file in external} | operators
    _check_golden(golden, config)
    speed = None if states else requests_per_s(session, golden, max_batch_size)
    set_scheduling(config, scheduling, promised_s(name), speed)
    del session  # its memory is the model's again
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with locked(repository), staging(repository) as home:
            if not replace_contract:
                check_same(published_contract(repository / name), contract_of(config, labels), name)
            initial = initial_states or {}
            _serve_alone_if_changed(config, states, controls, initial, latest_version(repository, name))
            if engines is not None:
                tensorrt.accelerate(config, engines, _next_version(repository / name))
            return _write(home, repository / name, files, config, manifest, parity, golden, labels, initial)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(f"cannot publish model {name!r} in {repository}: {reason}") from error


def _looked_into(onnx_file: Path, name: str) -> tuple[Sequence[str], bool]:
    """The names of its external files, and whether it needs a library of operators; the graph itself is let go."""
    inspected = inspect_onnx(onnx_file, name)
    return inspected.external, uses_custom_operators(inspected.model)


def _custom_operators(config: ModelConfig) -> dict[str, Path]:
    """The library of operators that the graph needs, as a file of the version, and named in `config`."""
    library = installed_library()
    if library is None:
        return {}
    config.model_operations.op_library_filename.append(LIBRARY)
    return {LIBRARY: library}


def _next_version(model: Path) -> int:
    return max(versions(model), default=0) + 1


def _write(
    home: Path,
    model: Path,
    files: Mapping[str, Path],
    config: ModelConfig,
    manifest: Mapping[str, Any],
    parity: Any,
    golden: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str]],
    initial: Mapping[str, np.ndarray],
) -> Path:
    """Fill the staging folder, sync it and move it into place."""
    version = _next_version(model)
    staged_model = home / model.name
    staged = staged_model / str(version)
    staged.mkdir(parents=True)
    for file, source in files.items():
        (staged / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, staged / file)
    write_golden(staged, golden)
    for folder, contents in (
        (warm_up.FOLDER, warm_up.add_warm_up(config, golden, staged.name)),
        (sequences.INITIAL_FOLDER, sequences.add_initial_states(config, initial, staged.name)),
    ):
        for file, data in contents.items():
            path = staged_model / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (staged_model / "config.pbtxt").write_text(render(config), encoding="utf-8")
    if (text := label_file(labels)) is not None:
        (staged_model / LABELS_FILE).write_text(text, encoding="utf-8")
    hashes: dict[str, Any] = {
        "onnx": sha256_of_file(staged / "model.onnx"),
        "golden": sha256_of_file(staged / "golden.npz"),
        "config": sha256_of_file(staged_model / "config.pbtxt"),
    }
    if len(files) > 1:
        hashes["external_data"] = {file: sha256_of_file(staged / file) for file in files if file != "model.onnx"}
    complete = {
        **manifest,
        "model": model.name,
        "version": version,
        "processor": processor(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": {**manifest.get("sha256", {}), **hashes},
    }
    _write_json(staged / "manifest.json", complete)
    _write_json(staged / "parity.json", parity)
    _refuse_errors(staged_model)
    sync_tree(staged_model)
    move_into_place(staged_model, model, version)
    return model / staged.name


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


def _describe_pictures(config: ModelConfig, preparation: Preparation) -> None:
    """Say in `config` how a picture is prepared, where a client has one to send."""
    axes = 3 if config.max_batch_size else 4
    taken = [entry for entry in config.input if entry.data_type == DataType.TYPE_UINT8 and len(entry.dims) == axes]
    if len([entry for entry in taken if entry.dims[-1] in (1, 3)]) != 1:
        has = ", ".join(
            f"{t.name} {DataType.Name(t.data_type).removeprefix('TYPE_')} {[*t.dims]}" for t in config.input
        )
        raise ServingError(
            f"model {config.name!r}: how pictures are prepared is said, which needs one input UINT8 "
            f"[batch, height, width, 1 or 3]; it has: {has}"
        )
    for key, value in preparation.parameters().items():
        config.parameters[key].string_value = value


def _serve_alone_if_changed(
    config: ModelConfig,
    states: Sequence[tuple[str, str]],
    controls: Mapping[str, str],
    initial: Mapping[str, np.ndarray],
    previous: Path | None,
) -> None:
    """Limit `config` to the newest version where the one before has other inputs or outputs, pictures or first states.

    One configuration describes all versions that a model serves: one with other tensors would fail to load under it,
    and clients would prepare pictures for one with another preparation wrongly.
    """
    if previous is None:
        return
    changed = []
    try:
        onnx_file = previous / "model.onnx"
        before = _tensors(model_config(onnx_file, config.name, config.max_batch_size, states=states, controls=controls))
    except ServingError:  # its file is gone, or has no batch axis: it cannot be served under this configuration either
        before = []
    if before != _tensors(config):
        changed.append("its inputs or outputs")
    if _pictures(_config_beside(previous)) != _pictures(config):
        changed.append("how its pictures are prepared")
    first = {name: value.tobytes() for name, value in initial.items()}
    if sequences.initial_values(_config_beside(previous), previous.parent) != first:
        changed.append("what its states begin with")
    if changed:
        log.warning(
            "model %r: %s changed, version %s is not served any more", config.name, " and ".join(changed), previous.name
        )
        config.version_policy.latest.num_versions = 1


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


def _check_golden(golden: Mapping[str, np.ndarray], config: ModelConfig) -> None:
    """The golden arrays name exactly the model's tensors and have one row an item; beside them may be sequences."""
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
