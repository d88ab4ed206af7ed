"""A recipe's states are checked when it says them, each mistake in a line with its fix."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from conch.contracts.errors import ConchError
from training.predict import torch_predict
from training.recipe import Metric, Served, Tensor
from training.recipes.lstm import LSTM
from training.states import Chain, State

STATE = ("batch", 2, 3)
X, C_IN, H_IN = Tensor("x", "int64", ("batch", 1)), Tensor("c_in", "float32", STATE), Tensor("h_in", "float32", STATE)
Y, C_OUT, H_OUT = (
    Tensor("y", "float32", ("batch", 4)),
    Tensor("c_out", "float32", STATE),
    Tensor("h_out", "float32", STATE),
)
STATES = (State("c_in", "c_out"), State("h_in", "h_out"))


def chain(**steps: np.ndarray) -> Chain:
    return Chain(steps or {"x": np.zeros((2, 5, 1), np.int64)}, dict, lambda _: [Metric("m", 1.0)])


def served(**changes: Any) -> Served:
    fields = {
        "name": "toy", "module": torch.nn.Identity(), "inputs": (X, C_IN, H_IN), "outputs": (Y, C_OUT, H_OUT),
        "examples": {}, "states": STATES, "chain": chain(),
    }  # fmt: skip
    return Served(**fields | changes)  # type: ignore[arg-type]


def test_states_are_no_answers() -> None:
    assert served().answers == (Y,)
    assert served(inputs=(X,), outputs=(Y,), states=(), chain=None).answers == (Y,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"states": (State("c", "c_out"),)}, r"state 'c' -> 'c_out': there is no input 'c', there are \['x', 'c_in'"),
        ({"states": (State("c_in", "c"),)}, "there is no output 'c'"),
        (
            {"outputs": (Y, Tensor("c_out", "float16", STATE), H_OUT)},
            "goes in as float32 .* and comes out as float16 .*; both have to be the same",
        ),
        (
            {"inputs": (X, Tensor("c_in", "float32", (2, "batch", 3)), H_IN),
             "outputs": (Y, Tensor("c_out", "float32", (2, "batch", 3)), H_OUT)},
            '"batch" has to be the first axis and all others fixed, transpose inside the module',
        ),
        ({"states": (State("c_in", "c_out"), State("c_in", "h_out"))}, "a tensor belongs to two states"),
        ({"inputs": (C_IN, H_IN)}, "needs an input and an output that are no states"),
        ({"outputs": (C_OUT, H_OUT)}, "needs an input and an output that are no states"),
        ({"chain": None}, "has states and no chain"),
        ({"chain": chain(z=np.zeros((2, 5)))}, r"its chain has steps of \['z'\], needed \['x'\]"),
        ({"chain": chain(x=np.zeros((0, 5)))}, "the arrays of its chain differ"),
        ({"inputs": (X,), "outputs": (Y,), "states": ()}, "a chain is for a module with states"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConchError, match=words):
        served(**changes)


def test_names_that_nvidia_s_backend_would_pair_otherwise_are_refused() -> None:
    with pytest.raises(ConchError, match=r"the inputs \['c_in', 'h_in'\] .* would pair 'c_in' with 'c_out'; name them"):
        served(states=(State("c_in", "h_out"), State("h_in", "c_out")))


def test_a_chain_is_run_step_by_step() -> None:
    seen = []

    def step(t: int, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(t)
        return {"y": inputs["x"] * 10 + t}

    steps = np.arange(6).reshape(2, 3)
    answers = chain(x=steps).run(step)
    assert seen == [0, 1, 2]
    assert answers["y"].tolist() == [[0, 11, 22], [30, 41, 52]]


@pytest.mark.slow
def test_the_stream_of_the_lstm_equals_the_whole_and_starts_from_states_on_the_way() -> None:
    recipe = LSTM(width=8)
    data = recipe.dataset()
    whole, stream = recipe.served(recipe.trainee(data), data)
    assert (whole.name, stream.name) == ("lstm", "lstm_stream")
    assert stream.chain is not None
    states = {"c_in": np.zeros((16, 2, 8), np.float32), "h_in": np.zeros((16, 2, 8), np.float32)}
    predict = torch_predict(stream)

    def step(_: int, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = predict({**inputs, **states})
        states.update(c_in=outputs["c_out"], h_in=outputs["h_out"])
        return {"probabilities": outputs["probabilities"]}

    got, expected = stream.chain.run(step), stream.chain.whole(stream.chain.steps)
    np.testing.assert_allclose(got["probabilities"], expected["probabilities"], atol=1e-6)
    # Row i of the examples comes after i + 1 characters: its answer is the whole's at that place.
    answers = predict(stream.examples)["probabilities"]
    prefixes = torch_predict(whole)({"tokens": whole.examples["tokens"]})["probabilities"]
    for row in range(40):
        np.testing.assert_allclose(answers[row], prefixes[row, row + 1], atol=1e-6)
    with pytest.raises(IndexError):
        predict({"token": np.array([[-1]])} | {name: array[:1] for name, array in states.items()})
