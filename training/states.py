"""Models that keep a state between requests: what contract 1 says of them, and what a server would get wrong.

The module takes its states as inputs and gives them as outputs; the server keeps them for each sequence of requests
(Triton's implicit state management).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conch.contracts.errors import ConchError
from conch.contracts.states import swapped_states

if TYPE_CHECKING:
    from training.recipe import Metric, Predict, Served


@dataclass(frozen=True)
class State:
    """A value that the server keeps for each sequence of requests: what one run gives, the next run gets.

    Both names are tensors among `Served.inputs` and `Served.outputs`, of one dtype and shape: "batch" first, the other
    axes fixed. A sequence begins with zeros.
    """

    input: str
    output: str


@dataclass(frozen=True)
class Chain:
    """Whole sequences with the right answers: what a stateful model is proven and judged by, step after step."""

    steps: Mapping[str, np.ndarray]
    """By name of each input that is no state: [sequences, steps, ...]; run number t gets `array[:, t]`."""
    whole: Predict
    """`steps` to what the runs must answer, by name of each output that is no state: [sequences, steps, ...]. It looks
    at each sequence as a whole and keeps no state, so it cannot be wrong in the same way."""
    score: Callable[[Mapping[str, np.ndarray]], list[Metric]]
    """Judge such answers: those of the weights, of the ONNX file and of the endpoint alike."""

    @property
    def length(self) -> int:
        """Runs of one sequence."""
        return int(next(iter(self.steps.values())).shape[1])

    def run(self, step: Callable[[int, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The answers [sequences, steps, ...] of `step`, which gets t and the inputs of all sequences at t."""
        answers = [step(t, {name: array[:, t] for name, array in self.steps.items()}) for t in range(self.length)]
        return {name: np.stack([answer[name] for answer in answers], axis=1) for name in answers[0]}


def check_states(served: Served) -> None:
    """Compare the states of a served module with its tensors and its chain.

    Raises:
        ConchError: naming the model, the state, what it is and what is allowed.
    """
    inputs = {tensor.name: tensor for tensor in served.inputs}
    outputs = {tensor.name: tensor for tensor in served.outputs}
    for state in served.states:
        where = f"{served.name}: state {state.input!r} -> {state.output!r}"
        for kind, name, known in (("input", state.input, inputs), ("output", state.output, outputs)):
            if name not in known:
                raise ConchError(f"{where}: there is no {kind} {name!r}, there are {list(known)}")
        before, after = inputs[state.input], outputs[state.output]
        if (before.dtype, before.shape) != (after.dtype, after.shape):
            raise ConchError(
                f"{where}: goes in as {before.dtype} {list(before.shape)} and comes out as {after.dtype} "
                f"{list(after.shape)}; both have to be the same"
            )
        if before.shape[:1] != ("batch",) or any(isinstance(size, str) for size in before.shape[1:]):
            raise ConchError(
                f'{where}: its shape is {list(before.shape)}; "batch" has to be the first axis and all others fixed, '
                "transpose inside the module where its layers want another order"
            )
    names_in, names_out = [state.input for state in served.states], [state.output for state in served.states]
    for names in (names_in, names_out):
        if len(set(names)) < len(names):
            raise ConchError(f"{served.name}: a tensor belongs to two states: {names}")
    if swapped := swapped_states([(state.input, state.output) for state in served.states]):
        raise ConchError(f"{served.name}: {swapped}")
    if served.states:
        _check_chain(served, set(inputs) - set(names_in), set(outputs) - set(names_out))
    elif served.chain is not None:
        raise ConchError(f"{served.name}: a chain is for a module with states, it has none")


def _check_chain(served: Served, asked: set[str], answered: set[str]) -> None:
    if not asked or not answered:
        raise ConchError(f"{served.name}: needs an input and an output that are no states, for requests to carry")
    if served.chain is None:
        raise ConchError(f"{served.name}: has states and no chain; give whole sequences with their right answers")
    if set(served.chain.steps) != asked:
        raise ConchError(f"{served.name}: its chain has steps of {sorted(served.chain.steps)}, needed {sorted(asked)}")
    sizes = {array.shape[:2] for array in served.chain.steps.values()}
    if len(sizes) > 1 or min(min(sizes)) < 1:
        raise ConchError(f"{served.name}: the arrays of its chain differ in [sequences, steps]: {sorted(sizes)}")
