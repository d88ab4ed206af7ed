"""Contract 1: everything Conch must know about one model.

A recipe is one file with one subclass of `Recipe`. Its fields become the command's flags, its methods say what is
learnt, what is served and how every later stage is judged. `training/recipes/cnn.py` is the shortest complete one.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from lightning import LightningModule
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.states import Chain, State, check_states

Predict = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Named input arrays to named output arrays; any number of rows (axis 0), the same number in every array."""


class Data(Protocol):
    """What a recipe learns from; `Images` and `Text` are the ones at hand."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str:
        """Hash of every array, labels and split included."""
        ...

    def describe(self) -> dict[str, Any]:
        """Sizes for the manifest and the report, JSON-ready."""
        ...


@dataclass(frozen=True)
class Tensor:
    """A named input or output of a served model.

    `shape` holds integers (fixed) and strings (symbolic axes); its first axis is "batch". `dtype` is NumPy's name.
    `low` and `high` bound an input's values: the proof feeds arrays of nothing but either.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    low: float = 0
    high: float = 255


@dataclass(frozen=True)
class Tolerance:
    """How far an ONNX file's output may be from PyTorch's: absolute + relative * |PyTorch's|."""

    absolute: float
    relative: float
    reason: str
    """Why this model needs another tolerance than the documented one; it lands in the manifest."""

    def __post_init__(self) -> None:
        """Refuse a tolerance without a reason, and one that accepts everything."""
        if not self.reason.strip():
            raise ConchError("a tolerance of a recipe needs a reason, got an empty one")
        for name in ("absolute", "relative"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConchError(f"{name} tolerance {getattr(self, name)}: it must be a finite number of at least 0")


@dataclass(frozen=True)
class Served:
    """One deployed model: a module with its pre- and post-processing inside, and how it is called."""

    name: str
    """Its folder in the model repository."""
    module: torch.nn.Module
    """Takes `inputs` and returns `outputs`, in their order; in eval mode."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    examples: Mapping[str, np.ndarray]
    """Real held-out inputs by tensor name, axis 0 the item: what the proof and the golden outputs are made from."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the last axis of an output counts, by output name."""
    largest_batch: int = 32
    """The most rows of one request, and of one batch formed by the server."""
    calibration: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Real training inputs by tensor name, axis 0 the item: what the ranges of int8 activations are measured on."""
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of each symbolic axis besides "batch" that the proof runs; the last is the example's at export."""
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)
    """By dtype of outputs: what the proof allows instead of the documented tolerance (`export/proof/budget.py`)."""
    states: tuple[State, ...] = ()
    """What the server keeps between the requests of a sequence; each run is then one step of many sequences."""
    chain: Chain | None = None
    """Sequences to prove a module with states on."""

    def __post_init__(self) -> None:
        """Refuse states that a server would lose or swap.

        Raises:
            ConchError: a state names no tensor or one that does not fit, or there is no chain to prove it on.
        """
        check_states(self)

    @property
    def answers(self) -> tuple[Tensor, ...]:
        """The outputs that a client gets: those that are no states."""
        kept = {state.output for state in self.states}
        return tuple(tensor for tensor in self.outputs if tensor.name not in kept)


@dataclass(frozen=True)
class Metric:
    """One figure of a score."""

    name: str
    value: float
    unit: str = ""
    higher_is_better: bool = True

    def reaches(self, bound: float) -> bool:
        """Whether the value is at least as good as `bound`; NaN never is."""
        return self.value >= bound if self.higher_is_better else self.value <= bound

    def __str__(self) -> str:
        return f"{self.value:.4f} {self.unit}".rstrip()


@dataclass(frozen=True)
class AllowedLoss:
    """How much worse than the weights' score a file of lower precision may be, by one metric."""

    amount: float
    relative: bool = False
    """Whether `amount` is a share of the weights' value; else it is in the metric's unit."""

    def allows(self, weights: Metric, variant: Metric) -> bool:
        """Whether `variant` is close enough to, or better than, `weights`; NaN never is."""
        lost = weights.value - variant.value if weights.higher_is_better else variant.value - weights.value
        return lost <= self.amount * (abs(weights.value) if self.relative else 1)

    def __str__(self) -> str:
        return f"{self.amount:.3g}" if not self.relative else f"{self.amount:.3%} of the value"


@dataclass(frozen=True)
class Recipe(ABC):
    """Settings of a model, and the five questions the kit asks of it."""

    data: str = "digits"
    """Data set to learn from."""
    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 32
    """Examples of one optimizer step."""
    learning_rate: float = 3e-3
    """Peak of the learning rate."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation; the held-out split is fixed."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By data set: the fields that have another default there than the one written beside them."""
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    """By data set: what each metric must reach before the weights are accepted."""
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {}
    """By metric: what an int8 or fp16 file may lose of the weights' score; without any none can be published."""

    def __post_init__(self) -> None:
        """Refuse settings nothing can be trained with."""
        for name in ("epochs", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ConchError(f"--{name.replace('_', '-')} {value}: it must be more than 0")
        for name, value in self.settings().items():
            if isinstance(value, int | float) and not 0 <= value < float("inf"):
                raise ConchError(f"--{name.replace('_', '-')} {value}: it must not be negative, infinite or no number")

    @abstractmethod
    def dataset(self) -> Any:
        """The data with its held-out split.

        Raises:
            ConchError: the data set is unknown or unreadable.
        """

    @abstractmethod
    def trainee(self, data: Any) -> LightningModule:
        """The untrained network with its loss and optimizer."""

    @abstractmethod
    def loaders(self, data: Any) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
        """The training split in shuffled batches, and the held-out split in order where `trainee` watches it."""

    @abstractmethod
    def served(self, trained: Any, data: Any) -> list[Served]:
        """What is deployed; the first is the one that `score` judges, one with states is judged by its chain."""

    @abstractmethod
    def score(self, predict: Predict, data: Any) -> list[Metric]:
        """Judge `predict` on the held-out split: weights, ONNX file and endpoint alike. The first metric leads."""

    def samples(self, predict: Predict, data: Any, path: Path) -> None:  # noqa: B027, most models have none
        """Draw something to look at into `path` (a PNG); does nothing where there is nothing to see."""

    def upstream(self) -> dict[str, str]:
        """Hashes of other checkpoints this recipe reads, by name."""
        return {}

    @classmethod
    def for_data(cls, data: str | None = None) -> Self:
        """The recipe with the defaults for a data set; None is the one it learns from where none is named."""
        data = cls.data if data is None else data
        return cls(**{"data": data, **cls.suited.get(data, {})})

    def settings(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return asdict(self)

    @classmethod
    def name(cls) -> str:
        """The recipe's name: that of its file."""
        return cls.source().stem

    @classmethod
    def source(cls) -> Path:
        """The file that defines the recipe."""
        return Path(str(sys.modules[cls.__module__].__file__))


def accepted(metrics: list[Metric], floors: Mapping[str, float]) -> list[str]:
    """What falls short of its floor, a sentence each; empty when the score is accepted.

    Raises:
        ConchError: a floor names a metric that the score does not have.
    """
    by_name = {metric.name: metric for metric in metrics}
    if unknown := sorted(set(floors) - set(by_name)):
        raise ConchError(f"the recipe has a floor for {', '.join(unknown)}; its score has {', '.join(by_name)}")
    return [
        f"{name} is {by_name[name]}, {'at least' if by_name[name].higher_is_better else 'at most'} {bound:g} "
        f"{by_name[name].unit}".rstrip()
        + " is required"
        for name, bound in floors.items()
        if not by_name[name].reaches(bound)
    ]
