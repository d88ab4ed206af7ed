"""`drive` drives in Gymnasium's world, by what a model says."""

import json
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from rich.console import Console

from clients.commands.drive import Drive
from clients.commands.exit_codes import BadCommand
from clients.errors import WrongKind
from clients.signature import Metadata, TensorSpec
from clients.taxi import ACTIONS, STATES, Taxi
from training.data.taxi import World, taxi

STATE, VALUES = TensorSpec("state", "INT64", (-1, 1), batched=True), TensorSpec("values", "FP32", (-1, 6), batched=True)
LOGITS = TensorSpec("logits", "FP32", (-1, 10), batched=True)


@pytest.fixture(scope="module")
def world() -> World:
    return taxi()


def values_of(world: World) -> np.ndarray:
    """What each action is worth, by value iteration: FP32 [500, 6]."""
    values = np.zeros((STATES, len(ACTIONS)))
    for _ in range(50):
        values = world.rewards + 0.95 * np.where(world.ends, 0, values.max(1)[world.following])
    return values.astype(np.float32)


def server(answer: Any, **models: TensorSpec) -> Any:
    """A server whose models take a state and give a tensor each, and answer so."""
    client = Mock()
    client.models.return_value = [Mock() for _ in models]
    for state, name in zip(client.models.return_value, models, strict=True):
        state.name = name
    client.metadata.side_effect = lambda name: Metadata(name, ("1",), "", (STATE,), (models[name],), 8)
    client.infer.side_effect = lambda model, inputs: {"values": answer(inputs["state"])}
    return client


def test_every_step_is_gymnasium_s(world: World) -> None:
    for state in range(STATES):
        assert Taxi.of(state).number == state
        assert Taxi.of(state).may_begin == (state in world.starts)
        for action in range(len(ACTIONS)):
            after, reward, delivered = Taxi.of(state).after(action)
            assert after.number == world.following[state, action]
            assert (reward, delivered) == (world.rewards[state, action], world.ends[state, action])


def test_a_driver_who_knows_the_way_delivers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    values = values_of(world)
    client = server(lambda state: values[state[:, 0]], cnn=LOGITS, cabby=VALUES)
    delivered, returns = world.drive(values.argmax(1))
    assert delivered.all()
    assert Drive(start=328, json=True).run(client, Console()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["delivered"]
    assert told["return"] == returns[list(world.starts).index(328)]
    assert told["steps"][0]["state"] == 328
    assert client.infer.call_args.args[0] == "cabby"


def test_one_who_does_not_is_broken_off_and_others_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    south = server(lambda state: np.eye(1, 6, dtype=np.float32), cabby=VALUES)
    assert Drive(start=328, most=3).run(south, Console(width=200)) == 1
    shown = capsys.readouterr().out
    assert "not delivered after 3 steps, return -3" in shown
    assert "|!: | : :G|" in shown
    assert shown.count("+---------+") == 4
    with pytest.raises(BadCommand, match="--start 500: allowed are states from 0 to 499"):
        Drive(start=500).run(south, Console())
    with pytest.raises(WrongKind, match=r"cnn: needs one INT64 \[batch, 1\] in .* it has: .* logits FP32"):
        Drive(model="cnn").run(server(None, cnn=LOGITS), Console())
    with pytest.raises(BadCommand, match="none fits"):
        Drive().run(server(None, cnn=LOGITS), Console())
