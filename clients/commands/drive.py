"""conch call drive

conch call drive --start 328 --delay 0
"""

import time
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import FAILED, BadCommand
from clients.commands.finding import find_model
from clients.errors import WrongKind
from clients.signature import Metadata
from clients.taxi import ACTIONS, STATES, Taxi
from clients.terminal import print_json

NEEDS = f"one INT64 [batch, 1] in and one FP32 [batch, {len(ACTIONS)}] out"


@dataclass(frozen=True)
class Step:
    """One action of an episode."""

    taxi: Taxi
    """The state in which it was taken."""
    action: int
    value: float
    """What the model expects of it."""
    reward: int
    delivered: bool


@dataclass(frozen=True, kw_only=True)
class Drive(Endpoint):
    """Drive a taxi to its passenger and him to his goal, each step as the model says.

    On a terminal the map is shown as it goes: T the taxi, t one with its passenger, * where he waits, ! where he wants
    to go. Exit code 1 where he was not delivered.

    conch call drive --seed 7
    """

    seed: int = 0
    """Of the state to begin in."""

    start: int | None = None
    """The number of the state to begin in, 0 to 499, in place of one by the seed."""

    most: int = 200
    """After so many steps the episode is broken off."""

    delay: float = 0.2
    """Seconds between two steps on a terminal."""

    model: str | None = None
    """A model on the server with a state in and the values of six actions out; default: the only one."""

    def run(self, client: Client, console: Console) -> int:
        taxi = self._start()
        model = find_model(client, self.model, NEEDS, tensors_of)
        state, values = tensors_of(client.metadata(model))
        steps: list[Step] = []
        shown = console.is_terminal and not self.json
        with Live(taxi.drawn(), console=console, auto_refresh=False, transient=True) as live:
            while len(steps) < self.most and not (steps and steps[-1].delivered):
                answer = client.infer(model, {state: np.array([[taxi.number]], np.int64)})[values][0]
                action = int(answer.argmax())
                after, reward, delivered = taxi.after(action)
                steps.append(Step(taxi, action, float(answer[action]), reward, delivered))
                taxi = after
                if shown:
                    live.update(f"{taxi.drawn()}\n{len(steps)}. {ACTIONS[action]}", refresh=True)
                    time.sleep(self.delay)
        self._show(console, steps, taxi)
        return 0 if steps[-1].delivered else FAILED

    def _start(self) -> Taxi:
        if self.most < 1 or not 0 <= self.delay < float("inf") or self.seed < 0:
            raise BadCommand("--most must be 1 or more, --delay and --seed 0 or more")
        if self.start is None:
            begins = [state for state in range(STATES) if Taxi.of(state).may_begin]
            return Taxi.of(int(np.random.default_rng(self.seed).choice(begins)))
        if not 0 <= self.start < STATES or not Taxi.of(self.start).may_begin:
            raise BadCommand(
                f"--start {self.start}: allowed are states from 0 to {STATES - 1} in which the passenger waits, "
                "and not where he wants to go"
            )
        return Taxi.of(self.start)

    def _show(self, console: Console, steps: list[Step], end: Taxi) -> None:
        total, delivered = sum(step.reward for step in steps), steps[-1].delivered
        if self.json:
            told = [
                {"state": step.taxi.number, "action": ACTIONS[step.action], "value": step.value, "reward": step.reward}
                for step in steps
            ]
            print_json({"steps": told, "return": total, "delivered": delivered})
            return
        table = Table("step", "state", "action", "value", "reward")
        for number, step in enumerate(steps, 1):
            table.add_row(
                str(number), str(step.taxi.number), ACTIONS[step.action], f"{step.value:.2f}", str(step.reward)
            )
        console.print(steps[0].taxi.drawn(), markup=False, highlight=False)
        console.print(table)
        console.print(end.drawn(), markup=False, highlight=False)
        console.print(f"{'delivered' if delivered else 'not delivered'} after {len(steps)} steps, return {total}")


def tensors_of(metadata: Metadata) -> tuple[str, str]:
    """The names of a driver's input and output. Raises WrongKind."""
    inputs, outputs = metadata.inputs, metadata.outputs
    if [(spec.dtype, spec.shape[1:]) for spec in inputs] == [("INT64", (1,))] and [
        (spec.dtype, spec.shape[1:]) for spec in outputs
    ] == [("FP32", (len(ACTIONS),))]:
        return inputs[0].name, outputs[0].name
    has = ", ".join(f"{spec.name} {spec}" for spec in (*inputs, *outputs))
    raise WrongKind(f"{metadata.name}: needs {NEEDS}, it has: {has}")
