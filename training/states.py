"""Models that keep a state between requests: what contract 1 says of them, and what a server would get wrong.

The module takes its states as inputs and gives them as outputs; the server keeps them for each sequence of requests
(Triton's implicit state management).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conch.contracts.errors import ConchError
from conch.contracts.states import swapped_states
from training.score import Metric, Predict
from training.tensors import Tensor


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
        return step_by_step(self.steps, step)


def step_by_step(
    steps: Mapping[str, np.ndarray], step: Callable[[int, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """As `Chain.run`, of any inputs [sequences, steps, ...] by name."""
    length = next(iter(steps.values())).shape[1]
    answers = [step(t, {name: array[:, t] for name, array in steps.items()}) for t in range(length)]
    return {name: np.stack([answer[name] for answer in answers], axis=1) for name in answers[0]}


def check_states(
    model: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], states: Sequence[State], chain: Chain | None
) -> None:
    """Compare the states of a served module with its tensors and its chain.

    Raises:
        ConchError: naming the model, the state, what it is and what is allowed.
    """
    taken = {tensor.name: tensor for tensor in inputs}
    given = {tensor.name: tensor for tensor in outputs}
    for state in states:
        where = f"{model}: state {state.input!r} -> {state.output!r}"
        for kind, name, known in (("input", state.input, taken), ("output", state.output, given)):
            if name not in known:
                raise ConchError(f"{where}: there is no {kind} {name!r}, there are {list(known)}")
        before, after = taken[state.input], given[state.output]
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
    names_in, names_out = [state.input for state in states], [state.output for state in states]
    for names in (names_in, names_out):
        if len(set(names)) < len(names):
            raise ConchError(f"{model}: a tensor belongs to two states: {names}")
    if swapped := swapped_states([(state.input, state.output) for state in states]):
        raise ConchError(f"{model}: {swapped}")
    if states:
        _check_chain(model, chain, set(taken) - set(names_in), set(given) - set(names_out))
    elif chain is not None:
        raise ConchError(f"{model}: a chain is for a module with states, it has none")


def _check_chain(model: str, chain: Chain | None, asked: set[str], answered: set[str]) -> None:
    if not asked or not answered:
        raise ConchError(f"{model}: needs an input and an output that are no states, for requests to carry")
    if chain is None:
        raise ConchError(f"{model}: has states and no chain; give whole sequences with their right answers")
    if set(chain.steps) != asked:
        raise ConchError(f"{model}: its chain has steps of {sorted(chain.steps)}, needed {sorted(asked)}")
    sizes = {array.shape[:2] for array in chain.steps.values()}
    if len(sizes) > 1 or min(min(sizes)) < 1:
        raise ConchError(f"{model}: the arrays of its chain differ in [sequences, steps]: {sorted(sizes)}")
