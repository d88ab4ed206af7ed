"""Modules of many habits, each with an example of what it takes; no recipe, no training.

A function without arguments gives `(module, example, ...)`, as users return it to `conch export module`.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, namedtuple
from typing import Any

import numpy as np
import torch
from torch import nn

Built = tuple[Any, ...]


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    """Ids from 3 to 49, both among them."""
    ids = torch.randint(3, 50, shape, generator=torch.Generator().manual_seed(seed))
    ids.view(-1)[:2] = torch.tensor([3, 49])
    return ids


class Base(nn.Module):
    """Three numbers of four, always by the same weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)


class Text(nn.Module):
    """Three numbers of each token, always by the same weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 3)


class Plain(Base):
    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x)


def tensor() -> Built:
    return Plain(), values(2, 4)


def float64_array() -> Built:
    return Plain(), values(2, 4).double().numpy()


class Tagger(Text):
    """A dictionary goes in, a nested one with a None comes out."""

    def forward(self, batch: dict[str, torch.Tensor]) -> Any:
        states = self.table(batch["tokens"]) * batch["mask"].unsqueeze(-1)
        return {"logits": self.head(states), "aux": {"mean": states.mean(1)}, "loss": None}


def dictionary() -> Built:
    return Tagger(), {"tokens": tokens(1, 4), "mask": torch.ones(1, 4, dtype=torch.long)}


def dictionary_of_any_length() -> Built:
    return (*dictionary(), {"tokens": tokens(2, 6), "mask": torch.ones(2, 6, dtype=torch.long)})


class OneKey(Base):
    """A dictionary of one tensor goes in and comes out."""

    def forward(self, batch: dict[str, torch.Tensor]) -> Any:
        return {"y": self.linear(batch["x"])}


def one_key() -> Built:
    return OneKey(), {"x": values(2, 4)}


class BatchEncoding(UserDict):
    """As tokenizers of Hugging Face return it (transformers/tokenization_utils_base.py): no dict, with attributes."""

    def __getattr__(self, item: str) -> Any:
        try:
            return self.data[item]
        except KeyError:
            raise AttributeError from None


def encoding() -> Built:
    return Classifier(), BatchEncoding({"input_ids": tokens(2, 5), "attention_mask": torch.ones(2, 5).long()})


class ModelOutput(OrderedDict):
    """As of Hugging Face (transformers/utils/generic.py): a dataclass and a dictionary, without what is None."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) is not None:
                self[field.name] = value

    def __delitem__(self, *args: Any) -> None:
        raise TypeError("cannot delete")

    def pop(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("cannot pop")

    def update(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("cannot update")

    def __getitem__(self, key: Any) -> Any:
        return dict(self.items())[key] if isinstance(key, str) else self.to_tuple()[key]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.keys() and value is not None:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def to_tuple(self) -> tuple[Any, ...]:
        """All values, without keys."""
        return tuple(self[key] for key in self.keys())


@dataclasses.dataclass
class ClassifierOutput(ModelOutput):
    """One of the many kinds."""

    loss: Any = None
    logits: Any = None
    hidden_states: Any = None


class Classifier(Text):
    """Optional arguments, most of them None; the last hidden state is among the hidden states too."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool = True,
    ) -> Any:
        states = self.table(input_ids) if inputs_embeds is None else inputs_embeds
        masked = states if attention_mask is None else states * attention_mask.unsqueeze(-1)
        logits = self.head(masked.mean(1))
        hidden = (states, masked) if output_hidden_states else None
        if not return_dict:
            return logits, hidden
        return ClassifierOutput(logits=logits, hidden_states=hidden)


def keywords() -> Built:
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    return Classifier(), {"input_ids": tokens(2, 3), "attention_mask": mask, "output_hidden_states": True}


def keywords_of_any_length() -> Built:
    first, second = ({"input_ids": tokens(2, n), "attention_mask": torch.ones(2, n).long()} for n in (3, 5))
    return Classifier(), first, second


@dataclasses.dataclass
class Pair:
    """Two tensors, and what is not there."""

    left: torch.Tensor
    right: torch.Tensor
    third: torch.Tensor | None = None


class Twins(Base):
    def forward(self, pair: Pair) -> Pair:
        return Pair(self.linear(pair.left), self.linear(pair.right) + 1)


def a_dataclass() -> Built:
    return Twins(), Pair(values(2, 4), values(2, 4, seed=1))


Gaussian = namedtuple("Gaussian", ["mean", "deviation"])


class Distribution(Base):
    def forward(self, x: torch.Tensor) -> Gaussian:
        return Gaussian(self.linear(x), self.linear(x).exp())


def a_named_tuple() -> Built:
    return Distribution(), (values(2, 4),)


class Nest(Base):
    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        y = self.linear(x)
        return y, [y + 1, None, (y * 2, {"last": y * 3})]


def nested() -> Built:
    return Nest(), (values(2, 4), None)


class Cell(nn.Module):
    """Takes and returns a tuple inside a tuple."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.LSTMCell(4, 5)

    def forward(self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]) -> Any:
        h, c = self.cell(x, state)
        return h, (h, c)


def a_state() -> Built:
    return Cell(), (values(2, 4), (values(2, 5), values(2, 5, seed=1)))


class Options(Base):
    """Keyword-only arguments, a number and a word among them; torch's own named tuple comes out."""

    def forward(
        self, x: torch.Tensor, scale: torch.Tensor | None = None, *, offset: float = 0.0, mode: str = ""
    ) -> Any:
        y = self.linear(x) + offset
        y = y if scale is None else y * scale
        return (y, y.max(1)) if mode == "greatest" else y


def options() -> Built:
    return Options(), ((values(2, 4),), {"scale": torch.tensor([[0.5], [2.0]]), "offset": 0.25, "mode": "greatest"})


class AnyKeywords(Base):
    """An output is called as the input it is made of."""

    def forward(self, **arrays: torch.Tensor) -> Any:
        return {name: self.linear(array) for name, array in arrays.items()}


def any_keywords() -> Built:
    return AnyKeywords(), {"a": values(2, 4), "b": values(2, 4, seed=1)}


class AnyArguments(Base):
    def forward(self, *arrays: torch.Tensor) -> Any:
        return [self.linear(array) for array in arrays]


def any_arguments() -> Built:
    return AnyArguments(), (values(2, 4), values(2, 4, seed=1))


class Passes(Base):
    """One tensor under two names, and its input untouched."""

    def forward(self, x: torch.Tensor) -> Any:
        y = self.linear(x)
        return {"y": y, "again": y, "x": x}


def the_same_twice() -> Built:
    return Passes(), values(2, 4)


class WithLoss(Base):
    """A mean over the batch beside what is asked for."""

    def forward(self, x: torch.Tensor) -> Any:
        y = self.linear(x)
        return {"y": y, "loss": y.square().mean()}


def a_scalar() -> Built:
    return WithLoss(), values(2, 4)


class Rows(Base):
    """A list as long as the batch."""

    def forward(self, x: torch.Tensor) -> Any:
        return [self.linear(row) for row in x]


def a_list_of_rows() -> Built:
    return Rows(), values(2, 4)


class Steps(Base):
    """A list as long as the time."""

    def forward(self, x: torch.Tensor) -> Any:
        return [self.linear(step) for step in x.unbind(1)]


def a_list_of_steps() -> Built:
    return Steps(), values(2, 3, 4), values(2, 5, 4)


class Detector(nn.Module):
    """A list of pictures without a batch axis goes in, a list of dictionaries comes out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, images: list[torch.Tensor]) -> Any:
        found = []
        for image in images:
            box = self.layer(image[None]).mean((2, 3))
            found.append({"boxes": box, "scores": box.sum(1)})
        return found


def a_list_of_pictures() -> Built:
    return Detector(), ([values(3, 6, 6)],)


class Sorted(Base):
    """Refuses what is not ascending, as random values are not."""

    def forward(self, x: torch.Tensor) -> Any:
        if not torch.compiler.is_exporting() and not torch.jit.is_tracing() and bool((x.diff(dim=1) < 0).any()):
            raise ValueError("not ascending")
        return self.linear(x)


def ascending() -> Built:
    return Sorted(), torch.tensor([[0.0, 0.1, 0.2, 0.3], [-1.0, 0.5, 2.0, 3.5]])


class Remembers(Base):
    """Counts its runs in a buffer, and answers by that."""

    runs: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> Any:
        self.runs += 1
        return {"y": self.linear(x) * self.runs}


def remembers() -> Built:
    return Remembers(), values(2, 4)


class CountsInPython(Base):
    """The same in an attribute that no exporter sees."""

    runs = 0

    def forward(self, x: torch.Tensor) -> Any:
        self.runs += 1
        return {"y": self.linear(x) * self.runs}


def counts_in_python() -> Built:
    return CountsInPython(), values(2, 4)


class Cross(nn.Module):
    """Two lengths that need not be equal."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> Any:
        return self.attention(query, memory, memory, need_weights=False)[0]


def two_lengths() -> Built:
    return Cross(), (values(1, 3, 8), values(1, 3, 8)), (values(1, 5, 8), values(1, 5, 8))


def numpy_arrays() -> dict[str, np.ndarray]:
    """An example without a module, for `--example`."""
    return {"x": values(2, 4).numpy()}
