"""A proven ONNX file becomes the next version of a model, under a configuration that is written from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from clients.preparation import Preparation
from conch.contracts.scheduling import Scheduling
from serving.errors import ServingError
from serving.onnx_files.custom_operators import LIBRARY, installed_library, uses_custom_operators
from serving.onnx_files.inspection import inspect_onnx
from serving.repository import sequences, tensorrt
from serving.repository.class_labels import name_classes
from serving.repository.configuration import opened_config
from serving.repository.folder import check_level
from serving.repository.names import check_name
from serving.repository.publication import ONNX_FILE, Publication, check_golden, put
from serving.repository.queueing import promised_s, set_scheduling
from serving.repository.speed import requests_per_s

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
    prepared = prepare(
        onnx_file,
        name=name,
        max_batch_size=max_batch_size,
        manifest=manifest,
        parity=parity,
        golden=golden,
        labels=labels,
        class_labels=class_labels,
        states=states,
        controls=controls,
        initial_states=initial_states,
        engines=engines,
        preparation=preparation,
        parameters=parameters,
        scheduling=scheduling,
    )
    (version,) = put(repository, [prepared], replace_contract)
    return version


def prepare(
    onnx_file: Path,
    *,
    name: str,
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
    scheduling: Scheduling = PLAIN,
    part_of: str = "",
) -> Publication:
    """What `publish` puts into a repository; arguments and errors as there. `part_of` is the ensemble that it is a step
    of, whose promise is then its own."""
    check_name(name)
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
    files = {ONNX_FILE: onnx_file} | {file: onnx_file.parent / file for file in external} | operators
    check_golden(golden, config)
    speed = None if states else requests_per_s(session, golden, max_batch_size)
    set_scheduling(config, scheduling, promised_s(part_of or name), speed)
    return Publication(
        config, files, manifest, parity, golden, labels, states, controls, initial_states or {}, engines
    )  # fmt: skip


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
