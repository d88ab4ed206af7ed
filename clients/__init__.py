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
