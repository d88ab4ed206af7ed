"""Contract 1: everything Conch must know about one model.

A recipe is one file with one subclass of `Recipe`. Its fields become the command's flags, its methods say what is
learnt, what is served and how every later stage is judged. `training/recipes/cnn.py` is the shortest complete one.
All that a recipe is written with is imported from here; the parts lie below, in `tensors`, `states`, `served`, `score`.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from torch.utils.data import DataLoader

from clients.preparation import Preparation
from conch.contracts.errors import ConchError
from conch.contracts.scheduling import Scheduling
from training.score import AllowedLoss, Metric, Predict
from training.served import Served
from training.states import Chain, State
from training.tensors import Tensor, Tolerance

if TYPE_CHECKING:
    from lightning import LightningModule  # seconds, which an export without a training would wait for

__all__ = [
    "AllowedLoss",
    "Chain",
    "Data",
    "Metric",
    "Predict",
    "Preparation",
    "Recipe",
    "Scheduling",
    "Served",
    "State",
    "Tensor",
    "Tolerance",
    "accepted",
]


GRADIENT_DESCENT = "gradient descent"


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

    learns_by: ClassVar[str] = GRADIENT_DESCENT
    """How the weights come about, in a few words; by a rule without gradients with a `GradientFree` trainee."""
    serves: ClassVar[tuple[str, ...]] = ()
    """Of each served model its inputs and answers, as "image -> probabilities"; the others than the first with their
    names before it, as "lstm_stream: token -> probabilities"."""
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
        """What is deployed; the first is the one that `score` judges, any other with states is judged by its chain,
        and one without by its own score where it has one."""

    @abstractmethod
    def score(self, predict: Predict, data: Any) -> list[Metric]:
        """Judge `predict` on the held-out split: weights, ONNX file and endpoint alike. The first metric leads.

        Where the first served model keeps states, `predict` takes whole sequences [sequences, steps, ...], and the
        score of its chain says the same of the chain's own.
        """

    def baseline(self, data: Any) -> list[Metric]:
        """What answers that look at no input reach in metrics of `score`; none where there are no such answers."""
        return []

    def samples(self, predict: Predict, data: Any, path: Path) -> None:  # noqa: B027, most models have none
        """Draw something to look at into `path` (a PNG); does nothing where there is nothing to see."""

    def picture(self, trained: Any, predict: Predict, data: Any, path: Path) -> None:
        """Draw what `samples.png` shows: the samples, unless only the network itself shows it, as its gradients."""
        self.samples(predict, data, path)

    def upstream(self) -> dict[str, str]:
        """Hashes of other checkpoints this recipe reads, by name."""
        return {}

    @classmethod
    def for_data(cls, data: str | None = None) -> Self:
        """The recipe with the defaults for a data set; None is the one it learns from where none is named."""
        data = cls.data if data is None else data
        return cls(**{"data": data, **cls.suited.get(data, {})})

    def settings(self) -> dict[str, Any]:
        """The fields as JSON-ready values; those that a recipe fixes (`field(init=False)`) are no settings of it."""
        chosen = {one.name for one in fields(self) if one.init}
        return {name: value for name, value in asdict(self).items() if name in chosen}

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
