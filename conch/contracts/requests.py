"""What requests to a published model carry, by its config.pbtxt: whoever wrote it, by hand too, decides that.

What the graph has and the configuration does not list (states, control inputs, inputs that the server computes) is the
server's own: a request names none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch.contracts.errors import ConchError

Dims = Mapping[str, tuple[int, ...]]
"""By tensor name, without the batch axis; -1 is any length."""


@dataclass(frozen=True)
class Requests:
    """The form of a model's requests and answers."""

    max_batch_size: int
    """The most items in a request; 0: there is no batch axis, and a request is one item."""
    inputs: frozenset[str]
    outputs: frozenset[str]
    reshaped: Dims
    """Tensors that have another shape on the wire than in the graph, and which."""
    in_sequences: bool
    """Whether requests are parts of sequences (`sequence_batching`)."""

    @classmethod
    def of(cls, config: ModelConfig) -> Requests:
        """What `config` says."""
        return cls(
            config.max_batch_size,
            _names(config.input),
            _names(config.output),
            {entry.name: tuple(entry.dims) for entry in (*config.input, *config.output) if entry.HasField("reshape")},
            config.HasField("sequence_batching"),
        )

    @property
    def most_items(self) -> int:
        """In one request."""
        return max(self.max_batch_size, 1)


def read_requests(path: Path) -> Requests | None:
    """What this config.pbtxt says; None where there is none.

    Raises:
        ConchError: The file cannot be read, or is no configuration.
    """
    try:
        return Requests.of(text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig()))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ConchError(f"cannot read {path}: {' '.join(str(error).split())}; `conch lint` says more") from error


def _names(entries: Iterable[Message]) -> frozenset[str]:
    return frozenset(entry.name for entry in entries)
