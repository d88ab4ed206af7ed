"""endpoint -> answers: a library and a command line for models behind KServe v2, as Triton speaks it.

    from clients import connect

    with connect("localhost:8000") as client:                 # or "grpc://localhost:8001"
        client.infer("cnn", {"image": pixels})                # {"probabilities": FP32 [batch, classes]}

    conch call classify digit.png --model cnn

Names, types and shapes come from the server's metadata and labels through its classification extension; the model
repository is never read. Needs numpy, pillow, rich, tritonclient and tyro, and nothing else of this kit.
"""

from clients.address import Protocol
from clients.client import Client, connect
from clients.errors import (
    ClientError,
    Refused,
    UnknownModel,
    Unreachable,
    UnreadableInput,
    UnwritableOutput,
    WrongKind,
    WrongTensor,
)
from clients.sequence import Sequence
from clients.signature import Classification, Metadata, ModelState, TensorSpec

__all__ = [
    "Classification",
    "Client",
    "ClientError",
    "Metadata",
    "ModelState",
    "Protocol",
    "Refused",
    "Sequence",
    "TensorSpec",
    "UnknownModel",
    "Unreachable",
    "UnreadableInput",
    "UnwritableOutput",
    "WrongKind",
    "WrongTensor",
    "connect",
]
