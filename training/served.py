"""What contract 1 deploys: a module, its tensors, its states, and what it is proven on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from clients.preparation import Preparation
from conch.contracts.scheduling import Scheduling
from training.score import Metric, Predict
from training.states import Chain, State, check_states
from training.tensors import Tensor, Tolerance


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
    real_examples: int | None = None
    """So many of the examples, the first, are real; the others were drawn at random within the inputs' ranges. None:
    all are real."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the last axis of an output counts, by output name."""
    class_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The classes whose numbers are an output's values, as of boxes or pixels, class 0 first; by output name."""
    largest_batch: int = 32
    """The most rows of one request, and of one batch formed by the server; 0 for a module without a batch axis: a
    request is then one run, an item of the examples, and no shape of a tensor begins with "batch"."""
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
    score: Callable[[Predict], list[Metric]] | None = None
    """Judges this model, where it is not the first, which the recipe's own score judges, and keeps no states."""
    preparation: Preparation | None = None
    """How a client brings a picture to the input that takes one; written into the model's configuration."""
    scheduling: Scheduling = Scheduling()  # noqa: RUF009  # frozen
    """How requests wait for their turn: a queue's bounds, priorities, rate limits."""

    def __post_init__(self) -> None:
        """Refuse states that a server would lose or swap.

        Raises:
            ConchError: a state names no tensor or one that does not fit, or there is no chain to prove it on.
        """
        check_states(self.name, self.inputs, self.outputs, self.states, self.chain)

    @property
    def batched(self) -> bool:
        """Whether axis 0 of every tensor is the batch."""
        return self.largest_batch > 0

    @property
    def answers(self) -> tuple[Tensor, ...]:
        """The outputs that a client gets: those that are no states."""
        kept = {state.output for state in self.states}
        return tuple(tensor for tensor in self.outputs if tensor.name not in kept)
