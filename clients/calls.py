"""What a call is made of: below the client's operations and all transports, and known to no protocol."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from clients.address import Address
from clients.deadline import Deadline
from clients.errors import ClientError
from clients.step import Step


@dataclass(frozen=True)
class Question:
    """Something about the server or one of its models. The answer is a JSON document, for "ready" {"ready": bool}."""

    about: Literal["server", "ready", "index", "statistics", "metadata", "config"]
    model: str = ""
    version: str = ""


@dataclass(frozen=True)
class MemoryRequest:
    """About regions of memory that client and server share. The answer to "regions" is a list of their names.

    `size` is in bytes; `handle`, of `kind` "cuda", is what the driver lets another process open it by.
    """

    about: Literal["regions", "register", "unregister"]
    kind: Literal["system", "cuda"] = "system"
    name: str = ""
    size: int = 0
    handle: bytes = b""


class Window(ABC):
    """A part of a region: `size` bytes at `offset`."""

    def __init__(self, region: str, offset: int, size: int) -> None:
        self.region, self.offset, self.size = region, offset, size

    def parameters(self) -> dict[str, str | int]:
        """What a request says of it in place of the tensor."""
        offset = {"shared_memory_offset": self.offset} if self.offset else {}
        return {"shared_memory_region": self.region, "shared_memory_byte_size": self.size, **offset}

    @abstractmethod
    def array(self, dtype: str, shape: Sequence[int]) -> np.ndarray:
        """What the server wrote there. Raises ValueError for what does not fit."""


@dataclass(frozen=True)
class Inference:
    """A run of a model, of at most one batch.

    `outputs` are those asked for; a number above 0 beside a name asks for that many top classes of it instead: BYTES
    [batch, number], each b"value:index:label". `step` is the request's place in a sequence, if it is of one. `priority`
    is its level where the model has levels, 1 the first to be run; 0 leaves it to the model.
    """

    model: str
    version: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, int]
    step: Step | None = None
    priority: int = 0
    inputs_in: Mapping[str, Window] = field(default_factory=dict)
    """Where those are that are in shared memory."""
    outputs_in: Mapping[str, Window] = field(default_factory=dict)
    """Where the server is to write those."""


@dataclass(frozen=True)
class Inferred:
    """A model's answer, and the version that gave it."""

    outputs: dict[str, np.ndarray]
    version: str


Request = Question | Inference | MemoryRequest
Answer = Any
"""JSON for a `Question`, `Inferred` for an `Inference`."""


@dataclass(frozen=True)
class Sending:
    """A request on its way to a server."""

    address: Address
    request: Request
    deadline: Deadline
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Send:
    """An operation's wish: send all of these at once. It is given, in order, an answer or a ClientError for each."""

    sendings: list[Sending]


@dataclass(frozen=True)
class Pause:
    """An operation's wish: go on after `seconds`."""

    seconds: float


Outcome = Answer | ClientError
T = TypeVar("T")
Operation = Generator[Send | Pause, Any, T]
"""What a client does, without the waiting: it yields what is to be sent or waited for, and a driver does that, one
blocking and one for asyncio (`clients.client`, `clients.async_client`)."""


@dataclass
class Call:
    """One call of the library's user, as observers see it; `requests` and the rest are counted while it is under way.

    What an observer puts into `headers` when it begins is sent with each of its requests.
    """

    operation: str
    deadline: Deadline
    model: str = ""
    version: str = ""
    repeatable: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    answered: str = ""
    """The version that did."""
    batch: int = 0
    requests: int = 0
    retries: int = 0
    failovers: int = 0
