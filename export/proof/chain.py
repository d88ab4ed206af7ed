"""The proof of a module with states: whole sequences run step by step equal what the recipe says of them as a whole.

The parity grid compares single runs and takes any states as inputs. What it cannot see is whether a state that comes
out is the one that has to go in again: two of one shape that are swapped give a graph that is right in every run and
wrong in every sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from conch.contracts.comparison import compare
from export.proof.budget import tolerance
from training.predict import judged_predict
from training.recipe import Metric, Predict, Served


@dataclass(frozen=True)
class ChainProof:
    """What running the recipe's sequences from zero states showed."""

    sequences: int
    steps: int
    differences: dict[str, float]
    """Largest absolute difference to the whole sequences, by output; NaN where the shapes differ."""
    failures: tuple[str, ...]
    whole_score: tuple[Metric, ...]
    """The chain's own score of the whole sequences as PyTorch answers them."""
    chain_score: tuple[Metric, ...]
    """The same of the answers of single steps."""

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, NaN as null."""
        found = {name: value if np.isfinite(value) else None for name, value in self.differences.items()}
        return {
            "sequences": self.sequences,
            "steps": self.steps,
            "differences": found,
            "passed": not self.failures,
        }


def prove_chain(served: Served, predict: Predict) -> ChainProof:
    """Run the sequences of `served.chain` through `predict`, one step of all sequences a run, and compare.

    Args:
        served: a module with states.
        predict: all inputs of the module, states among them, to all outputs; any batch.
    """
    chain = served.chain
    assert chain is not None
    expected = chain.whole(chain.steps)
    got = run_chain(served, predict)
    differences, failures = {}, []
    for tensor in served.answers:
        difference, agrees = compare(got[tensor.name], expected[tensor.name], tolerance(tensor, served.tolerance))
        differences[tensor.name] = difference
        if not agrees:
            failures.append(
                f"output {tensor.name!r} of {chain.length} steps from zero states differs by {difference:.3g} from the "
                f"whole sequences; first at step {first_wrong_step(got[tensor.name], expected[tensor.name])}"
            )
    sequences = len(next(iter(chain.steps.values())))
    scores = tuple(chain.score(expected)), tuple(chain.score(got))
    return ChainProof(sequences, chain.length, differences, tuple(failures), *scores)


def run_chain(served: Served, predict: Predict) -> dict[str, np.ndarray]:
    """The answers [sequences, steps, ...] by output name, each state handed from run to run."""
    assert served.chain is not None
    return judged_predict(served, predict)(served.chain.steps)


def first_wrong_step(got: np.ndarray, expected: np.ndarray) -> int:
    """The step [sequences, steps, ...] at which the difference is first a tenth of its largest; 0 for other shapes."""
    if got.shape != expected.shape:
        return 0
    steps = np.abs(got.astype(np.float64) - expected).max(axis=tuple(axis for axis in range(got.ndim) if axis != 1))
    return int(np.argmax(steps >= steps.max() / 10))
