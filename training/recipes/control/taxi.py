"""Deep Q-learning: a taxi that finds its passenger and takes him where he wants to go, and learns it by driving.

    conch train taxi
    conch train taxi --seed 7

Mnih and others, Human-level control through deep reinforcement learning, 2015; the task is that of Dietterich,
Hierarchical reinforcement learning with the MAXQ value function decomposition, 2000, as Gymnasium has it: 500 states, 6
actions, 20 for a delivery, -10 for a pick-up or drop-off where there is none, -1 for every other step. There is no data
set: each step a fleet of taxis takes an action, which is remembered, and the network learns from steps drawn out of
that memory, held against a copy of itself from a while ago. In so small a world a step is remembered once, however
often it is taken: the four that deliver, which are rare, are drawn as often as any; and who takes an action at random
takes one that nobody has tried there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.data.batches import batches
from training.data.taxi import World, taxi
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor

SQUARES, ERRANDS = 25, 20  # where the taxi is; where the passenger is, with the taxi as a fifth place, and his goal
STATES, ACTIONS = SQUARES * ERRANDS, 6
LONGEST = 100  # steps of a training episode: who is lost begins anew
REFRESH = 20  # optimizer steps between copies of the network
EXPLORED = 0.5  # the share of the training until which ever fewer actions are taken at random
LEAST_RANDOM = 0.05


class ActionValues(nn.Module):
    """What each action is worth [batch, 6] in states int64 [batch]: the rewards to come, discounted."""

    described: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        square, errand = np.divmod(np.arange(STATES), ERRANDS)
        described = np.concatenate([np.eye(SQUARES)[square], np.eye(ERRANDS)[errand]], axis=1)
        self.register_buffer("described", torch.from_numpy(described).float(), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(SQUARES + ERRANDS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, ACTIONS),
        )  # fmt: skip

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """int64 [batch] to float32 [batch, 6]."""
        return self.layers(functional.embedding(state, self.described))


class TaxiEndpoint(nn.Module):
    """A state's number in, the values of its actions out: the highest is the one to take."""

    def __init__(self, network: ActionValues) -> None:
        super().__init__()
        self.network = network

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """int64 [batch, 1] to float32 [batch, 6]."""
        # ONNX's Gather takes negative indices from the end, where PyTorch refuses them: make both refuse.
        return self.network(state.where(state >= 0, STATES).squeeze(1))


class TaxiTrainee(Trainee):
    """A fleet that drives and remembers, and the squared error of what was expected of remembered steps."""

    following: torch.Tensor
    rewards: torch.Tensor
    ends: torch.Tensor

    def __init__(self, recipe: Taxi, world: World) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = ActionValues(recipe.width)
        self.earlier = copy.deepcopy(self.network).requires_grad_(False)
        for name in ("following", "rewards", "ends"):
            self.register_buffer(name, torch.from_numpy(getattr(world, name)), persistent=False)
        self.fleet = torch.zeros(0, 2, dtype=torch.int64)  # where each taxi is, and for how many steps it drives
        self.tried = torch.zeros(STATES, ACTIONS, dtype=torch.bool)  # of each state the actions that were taken there

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Drive a step, with int64 [taxis] as places to begin anew from; loss of as many as the recipe's batch."""
        delivered, rewards = self._drive(batch[0])
        if self.global_step % REFRESH == 0:
            self.earlier.load_state_dict(self.network.state_dict())
        known = self.tried.nonzero()
        states, actions = known[torch.randint(len(known), (self.recipe.batch_size,))].to(self.device).unbind(1)
        with torch.no_grad():
            later = self.earlier(self.following[states, actions]).amax(1) * ~self.ends[states, actions]
        wanted = self.rewards[states, actions] + self.recipe.discount * later
        loss = functional.mse_loss(self.network(states).gather(1, actions.unsqueeze(1)).squeeze(1), wanted)
        means = {"deliveries a step": delivered.float().mean(), "reward a step": rewards.mean()}
        self.log_mean({"train loss": loss} | means)
        return loss

    @torch.no_grad()
    def _drive(self, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One action of each taxi; whether it delivered, and its rewards."""
        if len(self.fleet) != len(starts):
            self.fleet = torch.stack([starts, torch.zeros_like(starts)], 1)
        states, steps = self.fleet.to(starts.device).unbind(1)
        done = self.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        at_random = torch.rand(len(states)) < max(LEAST_RANDOM, 1 - done / EXPLORED)
        new = torch.multinomial((~self.tried[states.cpu()]).float() + 1e-3, 1)[:, 0]
        actions = torch.where(at_random, new, self.network(states).argmax(1).cpu())
        self.tried[states.cpu(), actions] = True
        actions = actions.to(states.device)
        delivered = self.ends[states, actions]
        over = delivered | (steps + 1 >= LONGEST)
        self.fleet = torch.stack(
            [torch.where(over, starts, self.following[states, actions]), torch.where(over, 0, steps + 1)], 1
        )
        return delivered, self.rewards[states, actions]

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.network.parameters(), self.recipe.learning_rate))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fleet and memory belong to the state of a run, that it goes on as if it had not been killed."""
        checkpoint["driving"] = {"fleet": self.fleet, "tried": self.tried}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up again."""
        self.fleet, self.tried = checkpoint["driving"]["fleet"], checkpoint["driving"]["tried"]


@dataclass(frozen=True)
class Taxi(Recipe):
    """Deep Q-learning on the taxi problem."""

    data: str = "taxi-v3"
    """taxi-v3: the environment that is driven in."""
    epochs: int = 14
    """So many times `steps`."""
    batch_size: int = 512
    """Remembered steps of one optimizer step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    width: int = 128
    """Units of both hidden layers."""
    taxis: int = 64
    """Taxis that drive at once."""
    steps: int = 500
    """Steps of each taxi in an epoch; after each of them is an optimizer step."""
    discount: float = 0.95
    """What a reward is worth a step later."""

    serves: ClassVar[tuple[str, ...]] = ("state -> values",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"taxi-v3": {"delivered": 100.0, "mean return": 7.5}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"delivered": AllowedLoss(0), "mean return": AllowedLoss(0.1)}

    def dataset(self) -> World:
        """The environment."""
        if self.data != "taxi-v3":
            raise ConchError(f"--data {self.data}: no such environment; known is taxi-v3")
        return taxi()

    def trainee(self, data: World) -> TaxiTrainee:
        """The fleet with its loss and optimizer."""
        return TaxiTrainee(self, data)

    def loaders(self, data: World) -> tuple[DataLoader[Any], None]:
        """States int64 [taxis] to begin from, a batch a step."""
        starts = np.random.default_rng(self.seed).choice(data.starts, self.taxis * self.steps)
        return batches(starts, size=self.taxis, shuffle_seed=self.seed), None

    def served(self, trained: TaxiTrainee, data: World) -> list[Served]:
        """One endpoint: a state to the values of its actions."""
        spread = np.random.default_rng(0).permutation(data.starts)[:, np.newaxis]
        return [
            Served(
                name=self.name(),
                module=TaxiEndpoint(trained.network).eval(),
                inputs=(Tensor("state", "int64", ("batch", 1), high=STATES - 1),),
                outputs=(Tensor("values", "float32", ("batch", ACTIONS)),),
                examples={"state": spread[:64]},
                calibration={"state": spread},
            )
        ]

    def score(self, predict: Predict, data: World) -> list[Metric]:
        """An episode from every start, each action the one of the highest value."""
        delivered, returns = data.drive(best_actions(predict))
        return [Metric("delivered", delivered.mean() * 100, "%"), Metric("mean return", returns.mean())]

    def baseline(self, data: World) -> list[Metric]:
        """The best of the drivers who always do the same."""
        driven = [data.drive(np.full(STATES, action)) for action in range(ACTIONS)]
        delivered, returns = max(driven, key=lambda one: one[1].mean())
        return [Metric("delivered", delivered.mean() * 100, "%"), Metric("mean return", returns.mean())]

    def samples(self, predict: Predict, data: World, path: Path) -> None:
        """Where the taxi goes from each square: to the passenger above, with him to his goal below."""
        chosen = best_actions(predict).reshape(5, 5, 5, 4)
        figure = Figure(figsize=(11, 5.6), layout="constrained")
        for column, (waits, goal) in enumerate(((0, 3), (1, 2), (2, 1), (3, 0))):
            for row, passenger in enumerate((waits, 4)):
                axes = figure.add_subplot(2, 4, 4 * row + column + 1)
                for (y, x), action in np.ndenumerate(chosen[:, :, passenger, goal]):
                    axes.text(x, y, "↓↑→←PD"[action], ha="center", va="center", fontsize=15)
                for wall, top, bottom in ((1.5, 0, 2), (0.5, 3, 5), (2.5, 3, 5)):
                    axes.plot([wall, wall], [top - 0.5, bottom - 0.5], color="black", linewidth=3)
                what = f"with him to {'RGYB'[goal]}" if row else f"to the passenger at {'RGYB'[waits]}"
                axes.set(xlim=(-0.5, 4.5), ylim=(4.5, -0.5), xticks=[], yticks=[], aspect="equal", title=what)
        figure.savefig(path, dpi=110)


def best_actions(predict: Predict) -> np.ndarray:
    """The action of the highest value in each state: int64 [500]."""
    return predict({"state": np.arange(STATES)[:, np.newaxis]})["values"].argmax(1)
