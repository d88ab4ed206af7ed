"""A model's folder as Triton reads it: configuration, versions, and the graphs of those that are served."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch.contracts.versions import versions
from serving.errors import ServingError
from serving.onnx_files.inspection import Inspected, inspect_onnx
from serving.onnx_files.releases import Release
from serving.onnx_files.signature import Signature, declared_signature, open_session, session_signature
from serving.repository.configuration import graph_config, parse

CONFIG_FILE = "config.pbtxt"
Target = Literal["x86", "x86-vnni", "arm", "gpu"]


@dataclass(frozen=True)
class ModelFolder:
    """One folder of a model repository; what is wrong in it is for the rules to say."""

    path: Path
    release: Release
    """The Triton release that is to serve it."""
    cores: int
    """The processor cores that are to serve it."""
    target: Target | None = None
    """The kind of processor that is to serve it, as `conch export --target` has it; None: nobody says."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def hidden(self) -> bool:
        return self.name.startswith(".")

    @property
    def has_config(self) -> bool:
        return (self.path / CONFIG_FILE).exists()

    @property
    def config(self) -> ModelConfig:
        """What config.pbtxt says; empty where there is none or it cannot be read."""
        return self._read[0]

    @property
    def config_error(self) -> str:
        """Why config.pbtxt cannot be read; "" where it can, or is not there."""
        return self._read[1]

    @cached_property
    def config_text(self) -> str:
        """The text of config.pbtxt; "" where there is none or it is no text."""
        with contextlib.suppress(OSError, ValueError):
            return (self.path / CONFIG_FILE).read_text(encoding="utf-8")
        return ""

    @cached_property
    def _read(self) -> tuple[ModelConfig, str]:
        if not self.has_config:
            return ModelConfig(), ""
        try:
            return parse((self.path / CONFIG_FILE).read_text(encoding="utf-8")), ""
        except (ServingError, OSError, ValueError) as error:
            return ModelConfig(), " ".join(str(error).split())

    @property
    def is_onnx(self) -> bool:
        """Whether the ONNX Runtime backend serves it; without a backend, Triton takes it by the file's name."""
        if self.config_error:
            return False  # nobody knows
        if self.config.backend or self.config.platform:
            return self.config.backend == "onnxruntime" or self.config.platform == "onnxruntime_onnx"
        return any(self.model_file(version).exists() for version in self.versions)

    @cached_property
    def versions(self) -> list[int]:
        """The folders that Triton takes for versions, ascending: positive numbers without a leading zero."""
        if not self.path.is_dir():
            return []
        return versions(self.path)

    @cached_property
    def served(self) -> list[int]:
        """The versions that the version policy serves, of those that are there."""
        policy = self.config.version_policy
        kind = policy.WhichOneof("policy_choice")
        if kind == "all":
            return self.versions
        if kind == "specific":
            return [version for version in self.versions if version in policy.specific.versions]
        return self.versions[-(policy.latest.num_versions or 1) :]

    def model_file(self, version: int) -> Path:
        """The file that the ONNX Runtime backend opens."""
        file = self.path / str(version) / (self.config.default_model_filename or "model.onnx")
        return file / "model.onnx" if file.is_dir() else file

    @cached_property
    def inspected(self) -> Mapping[int, Inspected | ServingError]:
        """Each served version's graph, or why it cannot be read; a version without a file is left out."""
        result: dict[int, Inspected | ServingError] = {}
        for version in self.served if self.is_onnx else ():
            file = self.model_file(version)
            if file.exists() and file.stat().st_size:
                try:
                    result[version] = inspect_onnx(file, self.name)
                except ServingError as error:
                    result[version] = error
        return result

    @property
    def graphs(self) -> Mapping[int, Inspected]:
        """The served versions whose graph can be read."""
        return {number: found for number, found in self.inspected.items() if isinstance(found, Inspected)}

    @cached_property
    def described(self) -> Mapping[int, ModelConfig | ServingError]:
        """Each graph's own inputs and outputs, dims with the batch axis; or why Triton cannot serve them."""
        result: dict[int, ModelConfig | ServingError] = {}
        for version, found in self.graphs.items():
            try:
                result[version] = graph_config(self._signature(version, found), self.name, 0)
            except ServingError as error:
                result[version] = error
        return result

    def _signature(self, version: int, found: Inspected) -> Signature:
        """As the session says, or as declared where this ONNX Runtime does not load the file: another may."""
        level = self.config.optimization.graph.level
        try:
            session = open_session(self.model_file(version), self.name, level)
        except ServingError:
            return declared_signature(found.model)
        return session_signature(session, found.model)

    @property
    def tensors(self) -> Mapping[int, ModelConfig]:
        """The graphs whose tensors Triton can serve."""
        return {number: found for number, found in self.described.items() if isinstance(found, ModelConfig)}
