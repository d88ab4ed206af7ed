"""What is measured: every cell has a name, under which its result is kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

MODELS = ("cnn", "resnet", "autoencoder", "gan", "lstm", "resnet50")
PRECISIONS = ("fp32", "fp16")
BATCHES = (1, 8, 32, 128)

EAGER, COMPILED = "PyTorch eager", "torch.compile"
ORT, GRAPHS, NHWC = "ONNX Runtime", "ONNX Runtime, CUDA graphs", "ONNX Runtime, CUDA graphs, NHWC"
CONTENDERS = (EAGER, COMPILED, ORT, GRAPHS, NHWC)
ON_CPU = (EAGER, COMPILED, ORT)
"""Those that run without a GPU, for a dry run."""

HTTP, GRPC, SYSTEM, CUDA = "HTTP", "gRPC", "gRPC, system shared memory", "gRPC, CUDA shared memory"
TRANSPORTS = (HTTP, GRPC, SYSTEM, CUDA)
CONCURRENCY = (1, 16, 64, 256)


@dataclass(frozen=True)
class InProcess:
    """All contenders side by side on one model, precision and batch size."""

    model: str
    precision: str
    batch: int

    @property
    def key(self) -> str:
        """Its name among the results."""
        return f"in process, {self.model}, {self.precision}, batch {self.batch}"


@dataclass(frozen=True)
class OverTheWire:
    """One model in one precision, asked over one transport by so many callers at once, an item a request."""

    model: str
    precision: str
    transport: str
    concurrency: int

    @property
    def key(self) -> str:
        """Its name among the results."""
        return f"served, {self.model}, {self.precision}, {self.transport}, {self.concurrency} at once"


def in_process(models: list[str], precisions: list[str], batches: list[int]) -> list[InProcess]:
    """The cells of the first part, those that share processes beside each other."""
    return [InProcess(*cell) for cell in product(models, precisions, batches)]


def over_the_wire(models: list[str], precisions: list[str], concurrency: list[int]) -> list[OverTheWire]:
    """The cells of the second part, those of one server beside each other."""
    return [OverTheWire(*cell) for cell in product(models, precisions, TRANSPORTS, concurrency)]
