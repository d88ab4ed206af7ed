"""What manifests are made of that is known already: read from the repository, the promises and the measured runs."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig
from tritonclient.utils import triton_to_np_dtype

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.ensembles import parts_of
from conch.contracts.golden import read_version_manifest
from conch.contracts.live import config_file
from conch.contracts.promises import Promise, promise_files, read_promises
from conch.contracts.versions import versions
from serving.deploy.choices import Choices
from serving.errors import ServingError
from serving.onnx_files.releases import find_release
from serving.repository.configuration import parse
from serving.repository.folder import check_repository
from serving.repository.queueing import UNPROMISED_S, WAITING_SHARE
from serving.repository.text_pipeline import MARK
from serving.server.model_options import options_of
from serving.store.contents import local_files
from serving.store.signature import read_public_key

MIB = 2**20
CPU_INSTANCES = 2
"""Of a model whose configuration has no instance_group: what NVIDIA's ONNX Runtime backend starts on a processor."""
ROOM = 1.5
"""Memory to what a load test measured."""
STEP_MIB = 256
"""Memory is rounded up to these, so that two runs of the same load ask for the same."""
STUB_BYTES = MIB
"""Shared memory that Triton's Python backend takes for an instance before the first request (shm-default-byte-size)."""
LEAST_SHM_MIB = 64
UNKNOWN_LENGTH = 1024
"""Of an axis that is open, for the size of shared memory alone."""


@dataclass(frozen=True)
class Served:
    """A version of a model that is to be served."""

    name: str
    version: int
    config: ModelConfig
    size: int
    """Bytes of all of its files."""
    promise: Promise | None

    @property
    def instances(self) -> int:
        """How many run at the same time; an ensemble is run by its parts."""
        if self.config.HasField("ensemble_scheduling"):
            return 0
        return sum(group.count or 1 for group in self.config.instance_group) or CPU_INSTANCES

    @property
    def threads(self) -> int | None:
        """Of one run; None where a session takes all cores there are."""
        if MARK in self.config.parameters:  # a tokenizer is no session
            return 1
        said = self.config.parameters["intra_op_thread_count"].string_value if self.config.parameters else ""
        return int(said) if said.isdecimal() and int(said) else None

    @property
    def longest_mean_wait_us(self) -> int:
        """The mean time in the queue, in microseconds, at which another server is needed.

        Where waits are distributed exponentially, the longest of a hundred is ln 100 times their mean; and that one may
        take as much of the promised p99 as the queue's bound allows.
        """
        p99_s = self.promise.p99_ms / 1e3 if self.promise and self.promise.p99_ms else UNPROMISED_S
        return round(1e6 * p99_s * WAITING_SHARE / math.log(100))

    @property
    def shared_bytes(self) -> int:
        """Shared memory of its instances where Triton's Python backend runs them: a batch in, and one out."""
        batch = max(self.config.max_batch_size, 1)
        tensors = sum(map(_bytes_of, [*self.config.input, *self.config.output]))
        return self.instances * (STUB_BYTES + 2 * batch * tensors)


@dataclass(frozen=True)
class Facts:
    """All that is known of what is to be served."""

    models: tuple[Served, ...]
    canary: Mapping[str, int]
    """Model -> version, of all models, where some are served in another one."""
    cpus: int
    """Cores that the instances use at the same time, on a processor."""
    instances: int
    memory: str
    shared_memory: str
    disk: str
    """Of the repository, while it is pulled."""
    options: tuple[str, ...]
    """Of tritonserver, because of the models' configurations."""

    @property
    def versions(self) -> dict[str, int]:
        return {model.name: model.version for model in self.models}

    @property
    def promises(self) -> dict[str, dict[str, float]]:
        """As promises.yaml has them, of these models."""
        return {
            model.name: {key: value for key, value in asdict(model.promise).items() if value is not None}
            for model in self.models
            if model.promise
        }


def read_facts(choices: Choices, repository: Path) -> Facts:
    """What is known of the models that are chosen.

    Raises:
        ServingError: A version is not there, the release does not load it, or nothing says how much memory it takes;
            the key is none.
        PromiseError: The promises cannot be read.
    """
    there = check_repository(repository)
    if choices.public_key:
        read_public_key(choices.public_key)
    known = read_promises(promise_files(choices.promises, artifacts_folder()))
    found = []
    for name, version in [*choices.models.items(), *(choices.canary.models.items() if choices.canary else ())]:
        check_there(repository, there, name, version)
        _check_release(repository / name / str(version), choices)
        config = parse(config_file(repository / name, version).read_text(encoding="utf-8"))
        size = sum(file.stat().st_size for file in local_files(repository / name, version).values())
        promise = known.of(name) if name in known.promises or name in known.wrong else None
        found.append(Served(name, version, config, size, promise))
    check_together(repository, choices.models)
    if choices.canary:
        check_together(repository, {**choices.models, **choices.canary.models})
    models = tuple(found[: len(choices.models)])
    return Facts(
        models,
        {**choices.models, **choices.canary.models} if choices.canary else {},
        choices.cpus or _cpus(models),
        sum(model.instances for model in models),
        choices.memory or _memory(choices.models),
        _mib(max(LEAST_SHM_MIB * MIB, sum(model.shared_bytes for model in found)), LEAST_SHM_MIB),
        _mib(2 * sum(model.size for model in found) + LEAST_SHM_MIB * MIB, LEAST_SHM_MIB),
        tuple(options_of([model.config for model in models], {})),
    )


def check_there(repository: Path, there: list[str], name: str, version: int) -> None:
    """Raise a `ServingError` where the repository, which has the models `there`, does not have this version of one."""
    if name not in there:
        raise ServingError(f"models: {repository} has no {name!r}; it has: {', '.join(there)}")
    if version not in (numbers := versions(repository / name)):
        raise ServingError(
            f"models: {repository} has no version {version} of {name!r}; it has: {', '.join(map(str, numbers))}"
        )


def check_together(repository: Path, chosen: Mapping[str, int]) -> None:
    """Raise a `ServingError` where an ensemble is chosen without the very versions of the models of its steps."""
    for name, version in chosen.items():
        for part, wanted in parts_of(config_file(repository / name, version)).items():
            if wanted > 0 and chosen.get(part) != wanted:
                raise ServingError(
                    f"models: version {version} of {name!r} is an ensemble with {part!r}: add {part}: {wanted}"
                )


def _check_release(folder: Path, choices: Choices) -> None:
    """Raise where the release does not load the version's file, by its manifest."""
    release, manifest = find_release(choices.release), read_version_manifest(folder)
    for key, newest in (("opset", release.newest_opset), ("ir_version", release.newest_ir_version)):
        if (has := manifest.get(key)) and int(has) > newest:
            raise ServingError(
                f"{folder} has {key} {has}, Triton {choices.release} loads up to {newest}: choose a later release, or "
                f"export it again with --triton {choices.release}"
            )


def _cpus(models: tuple[Served, ...]) -> int:
    total = 0
    for model in models:
        if model.instances and model.threads is None:
            raise ServingError(
                f"cpus: a session of {model.name!r} takes all cores (intra_op_thread_count 0): say how many"
            )
        total += model.instances * (model.threads or 0)
    return total


def _memory(models: Mapping[str, int]) -> str:
    """By the highest that load tests of these models saw of the whole server."""
    seen = [bytes_ for name in models for bytes_ in _measured(artifacts_folder() / "report" / "load" / name)]
    if not seen:
        raise ServingError(
            f"memory: no load test has measured it: run `conch load run {next(iter(models))}`, or write memory: 4Gi"
        )
    return _mib(round(ROOM * max(seen)), STEP_MIB)


def _measured(folder: Path) -> Iterator[int]:
    """Bytes of the server's processes, as a load test sampled them; nothing where there was none."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        samples = run["server"]["samples"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    yield from (int(sample["rss_bytes"]) for sample in samples if sample.get("rss_bytes"))


def _bytes_of(tensor: Message) -> int:
    count = math.prod(dim if dim > 0 else UNKNOWN_LENGTH for dim in tensor.dims)
    kind = triton_to_np_dtype(DataType.Name(tensor.data_type).removeprefix("TYPE_"))
    return count * np.dtype(kind).itemsize


def _mib(size: int, step: int) -> str:
    """A quantity of Kubernetes, rounded up to `step` MiB."""
    return f"{math.ceil(size / MIB / step) * step}Mi"
