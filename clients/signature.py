"""What a served model takes and gives, as the server's metadata and configuration tell it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from clients.errors import WrongKind, WrongTensor
from clients.tensors import kserve_dtype

CLASSIFIED = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64")
"""The types whose highest values Triton finds. Triton 2.51 refuses others, and dies of BYTES, by whose size it divides:
triton-inference-server/server src/classification.cc, TopkClassifications."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `dtype` is a KServe name ("UINT8", "FP32"); a -1 in `shape` may be any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    batched: bool = False  # the first axis is the batch, added by the server's batcher
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.dtype} {self.axes()}"

    def axes(self) -> str:
        """The shape to read: "[batch, 28, 28, 1]"."""
        names = ["any" if size == -1 else str(size) for size in self.shape]
        if self.batched and names:
            names[0] = "batch"
        return f"[{', '.join(names)}]"

    @property
    def open_axes(self) -> bool:
        """Whether an axis other than the batch may be of any size."""
        return -1 in self.shape[self.batched :]

    def check(self, array: np.ndarray, model: str, single: bool = False) -> None:
        """Raises WrongTensor naming model, tensor, got and allowed; a `single` item has no batch axis."""
        shape = self.shape[1:] if single else self.shape
        fits = array.ndim == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        got = kserve_dtype(array)
        if got != self.dtype or not fits:
            item = f", for one item {replace(self, shape=self.shape[1:], batched=False).axes()}" if self.batched else ""
            raise WrongTensor(f"{model}: input {self.name!r} got {got} {list(array.shape)}, allowed is {self}{item}")


@dataclass(frozen=True)
class Metadata:
    """A model on the server; `max_batch_size` 0 means that the server does not batch it.

    A `stateful` one takes requests of one item that belong to a sequence, and batches those of different ones.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    stateful: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Of the model's configuration: settings of its backend, and how pictures are prepared (`clients.preparation`)."""
    instances: tuple[str, ...] = ()
    """Copies of the model and what they are placed on, as "2 on CPU" or "1 on GPU 0"."""

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """The inputs by name."""
        return {spec.name: spec for spec in self.inputs}

    @cached_property
    def everything(self) -> Mapping[str, int]:
        """All outputs, as `clients.calls.Inference` asks for them."""
        return {spec.name: 0 for spec in self.outputs}

    def check_names(self, names: Iterable[str]) -> None:
        """Raises WrongTensor for an unknown or missing input."""
        specs, given = self.specs, set(names)
        if given == specs.keys():
            return
        allowed = ", ".join(f"{spec.name} {spec}" for spec in self.inputs)
        if unknown := sorted(given - set(specs), key=str):
            raise WrongTensor(f"{self.name}: no input {unknown[0]!r}, allowed are: {allowed}")
        needed = {spec.name for spec in self.inputs if not spec.optional}
        if absent := sorted(needed - given):
            raise WrongTensor(f"{self.name}: input {absent[0]!r} is missing, needed is {specs[absent[0]]}")

    def check_outputs(self, names: list[str]) -> None:
        """Raises WrongTensor for an output the model does not have."""
        known = [spec.name for spec in self.outputs]
        for name in names:
            if name not in known:
                raise WrongTensor(f"{self.name}: no output {name!r}, allowed are: {', '.join(known)}")

    def check_stateful(self) -> None:
        """Raises WrongKind for a model that has no sequences."""
        if not self.stateful:
            raise WrongKind(f"{self.name} keeps no state on the server; call it with infer")

    def check_classes(self, output: str) -> TensorSpec:
        """The output; raises WrongKind for one whose highest values the server cannot find: of text it dies."""
        self.check_outputs([output])
        (spec,) = (spec for spec in self.outputs if spec.name == output)
        if spec.dtype not in CLASSIFIED:
            can = ", ".join(f"{spec.name} {spec}" for spec in self.outputs if spec.dtype in CLASSIFIED) or "none"
            raise WrongKind(f"{self.name}: output {output!r} is {spec}, which has no classes; outputs that have: {can}")
        return spec


@dataclass(frozen=True)
class ModelState:
    """A line of the server's repository index: `state` is "READY", "UNAVAILABLE", ...; `reason` says why not ready."""

    name: str
    version: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Classification:
    """One of an output's likeliest classes. The server sends `value` with six decimals and "" for no label."""

    index: int
    label: str
    value: float
