"""What a server tells of itself in JSON, which over gRPC is made of its messages."""

from collections.abc import Mapping
from typing import Any

from clients.signature import Metadata, ModelState, TensorSpec


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
        instances=tuple(map(_placed, config.get("instance_group", []))),
    )


def parse_index(entries: list[Mapping[str, str]]) -> list[ModelState]:
    """A model that was never loaded comes without version and state."""
    return [
        ModelState(
            entry["name"], entry.get("version", ""), entry.get("state") or "UNAVAILABLE", entry.get("reason", "")
        )
        for entry in entries
    ]


def _placed(group: Mapping[str, Any]) -> str:
    """An instance group in words; its kind is "KIND_CPU", "KIND_GPU" with the numbers of GPUs, and others."""
    kind = group.get("kind", "KIND_AUTO").removeprefix("KIND_")
    return " ".join([str(group.get("count", 1)), "on", kind, *map(str, group.get("gpus", []))])
