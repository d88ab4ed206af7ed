"""Gymnasium's Taxi as tables, so that many taxis drive at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST = 200
"""Steps of an episode: then it is broken off."""
ACTIONS = ("south", "north", "east", "west", "pick up", "drop off")


@dataclass(frozen=True)
class World:
    """What each of 6 actions leads to in each of 500 states.

    A state is ((row * 5 + column) * 5 + passenger) * 4 + goal. The passenger waits at one of four places, or rides (4).
    """

    name: str
    following: NDArray[np.int64]
    """[500, 6]: the state after it."""
    rewards: NDArray[np.float32]
    """[500, 6]: 20 for a delivery, -10 for a pick-up or drop-off where there is none, -1 for every other step."""
    ends: NDArray[np.bool_]
    """[500, 6]: whether it delivers the passenger."""
    starts: NDArray[np.int64]
    """The states in which an episode may begin, all as likely."""

    @cached_property
    def sha256(self) -> str:
        """Hash of every table."""
        digest = hashlib.sha256(self.name.encode())
        for table in (self.following, self.rewards, self.ends, self.starts):
            digest.update(np.ascontiguousarray(table).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {"states": len(self.following), "actions": len(ACTIONS), "starts": len(self.starts)}

    def drive(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Of an episode from each start, by the action `chosen` [500] for each state: delivered, and its return."""
        state, delivered = self.starts.copy(), np.zeros(len(self.starts), bool)
        returns = np.zeros(len(self.starts))
        for _ in range(LONGEST):
            action = chosen[state]
            returns += np.where(delivered, 0, self.rewards[state, action])
            state, delivered = self.following[state, action], delivered | self.ends[state, action]
        return delivered, returns


def taxi() -> World:
    """Dietterich's taxi as Gymnasium has it, dry and with a passenger of one mind (Taxi-v3, the same in v4)."""
    from gymnasium.envs.toy_text.taxi import TaxiEnv

    environment = TaxiEnv()
    table = [[environment.P[state][action][0] for action in range(len(ACTIONS))] for state in range(len(environment.P))]
    _, following, rewards, ends = (np.array([[entry[place] for entry in row] for row in table]) for place in range(4))
    return World(
        "taxi-v3", following.astype(np.int64), rewards.astype(np.float32), ends.astype(bool),
        np.flatnonzero(environment.initial_state_distrib),
    )  # fmt: skip
