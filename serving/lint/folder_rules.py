"""Rules about a model's folder: its files, its versions, and whether Triton can read its configuration at all."""

import difflib
from collections.abc import Iterator

from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch.contracts.ensembles import parts
from conch.contracts.versions import is_version, versions
from serving.lint.findings import Found, rule
from serving.lint.model_folder import CONFIG_FILE, ModelFolder
from serving.repository.warm_up import FOLDER as WARM_UP_FOLDER

# What else Triton reads in a model's folder: core src/constants.h.
KNOWN_FOLDERS = (WARM_UP_FOLDER, "initial_state", "configs")

KNOWN_BACKENDS = (
    "onnxruntime", "python", "tensorrt", "pytorch", "tensorflow", "openvino", "dali", "fil", "vllm", "tensorrtllm",
    "identity", "repeat", "square",
)  # fmt: skip
"""Backends that NVIDIA's containers carry: triton-inference-server/backend README, "Where can I find all the ...?"."""


@rule("hidden-folder", "error")
def hidden_folder(model: ModelFolder) -> Iterator[Found]:
    """Triton takes a hidden folder in the repository for a model, and fails to start on it."""
    if model.hidden:
        yield Found(
            ".", "a hidden folder inside the repository", "no folder that is no model", "move it out of the repository"
        )


@rule("config-unreadable", "error")
def config_unreadable(model: ModelFolder) -> Iterator[Found]:
    """config.pbtxt is no ModelConfig in protobuf's text format."""
    if model.config_error:
        yield Found(
            CONFIG_FILE,
            model.config_error,
            "a ModelConfig in protobuf's text format",
            "correct that line, or publish again",
        )


@rule("no-config", "warning")
def no_config(model: ModelFolder) -> Iterator[Found]:
    """Without config.pbtxt Triton makes one up: two instances, a batch of 4, no warm-up."""
    if not model.hidden and not model.has_config:
        yield Found(
            CONFIG_FILE,
            "none: Triton completes one itself, with a batch of at most 4 and without warm-up",
            "one written from the ONNX file",
            "publish the file: conch publish",
        )


@rule("name-mismatch", "error")
def name_mismatch(model: ModelFolder) -> Iterator[Found]:
    """The name in config.pbtxt is not the folder's."""

    def rename(config: ModelConfig) -> dict[str, bytes]:
        config.name = model.name
        return {}

    if model.config.name not in ("", model.name):
        yield Found("name", repr(model.config.name), f"the folder's: {model.name!r}", change=rename)


@rule("unknown-backend", "warning")
def unknown_backend(model: ModelFolder) -> Iterator[Found]:
    """The backend is none that Triton's containers carry."""
    backend = model.config.backend
    if backend and backend not in KNOWN_BACKENDS:
        near = difflib.get_close_matches(backend, KNOWN_BACKENDS, 1)
        yield Found(
            "backend",
            repr(backend),
            f"one of {', '.join(KNOWN_BACKENDS)}" + (f" (is {near[0]!r} meant?)" if near else ""),
            "correct it; a backend of your own has to lie in the server's backend directory",
        )


@rule("no-version", "error")
def no_version(model: ModelFolder) -> Iterator[Found]:
    """There is nothing to serve: no version folder, or none that the version policy takes."""
    if model.hidden or model.config_error or model.config.platform == "ensemble":
        return
    if not model.versions:
        yield Found(
            ".", "no version", "a folder named by a number, such as 1", "publish a version, or remove the folder"
        )
    elif not model.served:
        wanted = sorted(model.config.version_policy.specific.versions)
        yield Found(
            "version_policy", f"specific versions {wanted}", f"some of {model.versions}", "name versions that are there"
        )


@rule("missing-version", "warning")
def missing_version(model: ModelFolder) -> Iterator[Found]:
    """The version policy names versions that are not there."""
    named = model.config.version_policy.specific.versions
    if missing := sorted(set(named) - set(model.versions)):

        def drop(config: ModelConfig) -> dict[str, bytes]:
            config.version_policy.specific.versions[:] = model.served
            return {}

        if model.served:
            yield Found("version_policy", f"versions {missing}, not there", f"some of {model.versions}", change=drop)


@rule("missing-step", "error")
def missing_step(model: ModelFolder) -> Iterator[Found]:
    """An ensemble names a model, or a version of one, that the repository does not have."""
    for name, version in parts(model.config).items():
        there = versions(model.path.parent / name)
        if not there or (version > 0 and version not in there):
            yield Found(
                "ensemble_scheduling.step",
                f"{name!r}, version {version if version > 0 else 'the newest'}",
                f"one of {there}" if there else "a model of the repository",
                "publish the ensemble again, or bring that version back",
            )


@rule("version-without-model", "error")
def version_without_model(model: ModelFolder) -> Iterator[Found]:
    """A version to be served has no model file: it is half-written, or the file has another name."""
    if model.config.backend != "onnxruntime" and not model.is_onnx:
        return
    for version in model.served:
        file = model.model_file(version)
        if not file.exists():
            there = sorted(entry.name for entry in (model.path / str(version)).iterdir())
            yield Found(
                f"{version}/{file.name}",
                f"not there (the folder has {', '.join(there) or 'nothing'})",
                "the ONNX file",
                "complete the version or remove it; a file of another name goes into default_model_filename",
            )


@rule("empty-file", "error")
def empty_file(model: ModelFolder) -> Iterator[Found]:
    """A file without a byte: a copy that was broken off."""
    if model.hidden:
        return
    files = [model.path / CONFIG_FILE, *(f for v in model.served for f in (model.path / str(v)).rglob("*"))]
    for file in files:
        if file.is_file() and file.stat().st_size == 0:
            yield Found(str(file.relative_to(model.path)), "an empty file", "its content", "copy or publish it again")


@rule("stray-folder", "warning")
def stray_folder(model: ModelFolder) -> Iterator[Found]:
    """A folder that looks like a version but is none for Triton: a leading zero, or more than a number."""
    if model.hidden or not model.path.is_dir():
        return
    for entry in sorted(model.path.iterdir()):
        if entry.is_dir() and entry.name not in KNOWN_FOLDERS and not is_version(entry.name):
            yield Found(
                entry.name,
                "a folder that Triton ignores",
                "a version is a number without leading zeros",
                "rename it, or move it out of the repository",
            )
