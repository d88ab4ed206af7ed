"""endpoint -> answers: a library and a command line for models behind KServe v2, as Triton speaks it.

    from clients import connect

    with connect("localhost:8000") as client:                 # or "grpc://localhost:8001"
        client.infer("cnn", {"image": pixels})                # {"probabilities": FP32 [batch, classes]}

    async with connect_async("localhost:8000") as client:     # the same names for asyncio
        await client.infer("cnn", {"image": pixels})

    conch call classify digit.png --model cnn

Names, types and shapes come from the server's metadata and labels through its classification extension; the model
repository is never read. Needs aiohttp, numpy, pillow, rich, tenacity, tritonclient, tyro and urllib3, and nothing else
of this kit.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clients.address import Protocol
    from clients.async_client import AsyncClient, connect_async
    from clients.client import Client, connect
    from clients.errors import (
        ClientError,
        DeadlineExceeded,
        NoSharedMemory,
        Overloaded,
        Refused,
        UnknownModel,
        Unreachable,
        UnreadableInput,
        UnwritableOutput,
        WrongCertificate,
        WrongKind,
        WrongTensor,
    )
    from clients.sequence import AsyncSequence, Sequence
    from clients.signature import Classification, Metadata, ModelState, TensorSpec
    from clients.statistics import Statistics

__all__ = [
    "AsyncClient",
    "AsyncSequence",
    "Classification",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Metadata",
    "ModelState",
    "NoSharedMemory",
    "Overloaded",
    "Protocol",
    "Refused",
    "Sequence",
    "Statistics",
    "TensorSpec",
    "UnknownModel",
    "Unreachable",
    "UnreadableInput",
    "UnwritableOutput",
    "WrongCertificate",
    "WrongKind",
    "WrongTensor",
    "connect",
    "connect_async",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent until somebody listens

_MODULES = {
    "address": ("Protocol",),
    "async_client": ("AsyncClient", "connect_async"),
    "client": ("Client", "connect"),
    "sequence": ("AsyncSequence", "Sequence"),
    "signature": ("Classification", "Metadata", "ModelState", "TensorSpec"),
    "statistics": ("Statistics",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
"""Where a name is; those that are in none of these are errors."""


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for (PEP 562): a command that only prints waits for no client."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"clients.{_MODULE_OF.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
