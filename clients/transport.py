"""What a protocol must be able to do for the client; `clients.http` and `clients.grpc` do it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tritonclient.utils import np_to_triton_dtype

from clients.signature import Metadata, ModelState, TensorSpec
from clients.step import Step


class Transport(ABC):
    """One connection. Every method raises Unreachable when nobody answers and Refused when the server says no."""

    @abstractmethod
    def server(self) -> tuple[str, str]:
        """The server's name and version, as ("triton", "2.51.0")."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server says it can take requests for all its models."""

    @abstractmethod
    def index(self) -> list[ModelState]:
        """Every model and version the server knows of, ready or not."""

    @abstractmethod
    def metadata(self, model: str, version: str) -> Metadata:
        """Names, types and shapes; `version` "" leaves the choice to the server."""

    @abstractmethod
    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, int],
        step: Step | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs asked for. A number above 0 beside a name asks for that many top classes of it instead:
        BYTES [batch, number], each b"value:index:label". `step` is the request's place in a sequence, if it is of one.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the connection back."""


def request_tensors(
    make_input: Callable[..., Any],
    make_output: Callable[..., Any],
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, int],
) -> tuple[list[Any], list[Any]]:
    """What tritonclient's `infer` takes of the tensors, made by its `InferInput` and `InferRequestedOutput`: each
    protocol has its own, called alike."""
    tensors = [
        make_input(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in inputs.items()
    ]
    return tensors, [make_output(name, class_count=classes) for name, classes in outputs.items()]


def sequence_options(step: Step | None) -> dict[str, Any]:
    """What tritonclient's `infer` takes of a sequence."""
    if step is None:
        return {}
    return {"sequence_id": step.id, "sequence_start": step.start, "sequence_end": step.end}


def parse_metadata(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> Metadata:
    """Metadata from the two JSON documents of the protocol; gRPC's JSON writes 64-bit integers as strings."""
    max_batch_size = int(config.get("max_batch_size", 0))
    optional = {entry["name"] for entry in config.get("input", []) if entry.get("optional")}

    def specs(entries: list[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=entry["name"],
                dtype=entry["datatype"],
                shape=tuple(int(size) for size in entry.get("shape", [])),
                batched=max_batch_size > 0,
                optional=entry["name"] in optional,
            )
            for entry in entries
        )

    return Metadata(
        name=metadata["name"],
        versions=tuple(metadata.get("versions", [])),
        platform=metadata.get("platform", ""),
        inputs=specs(metadata.get("inputs", [])),
        outputs=specs(metadata.get("outputs", [])),
        max_batch_size=max_batch_size,
        stateful="sequence_batching" in config,
        parameters={key: entry.get("string_value", "") for key, entry in config.get("parameters", {}).items()},
    )


def parse_index(entries: list[Mapping[str, str]]) -> list[ModelState]:
    """A model that was never loaded comes without version and state."""
    return [
        ModelState(
            entry["name"], entry.get("version", ""), entry.get("state") or "UNAVAILABLE", entry.get("reason", "")
        )
        for entry in entries
    ]
