"""Real held-out inputs and the answers they must get, as export left them beside the model."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from conch.contracts.golden import FILE, GoldenError, read_sequences, sequences_sha256
from conch.contracts.golden_requests import Golden, golden_of
from conch.contracts.live import live_folder

__all__ = ["Golden", "keeps_state", "load_chain", "load_golden"]


@lru_cache(maxsize=256)
def load_golden(artifacts: Path, model: str) -> Golden:
    """The golden answers of the live version of `model` in the repository under `artifacts`; read once a process.

    Raises GoldenError where there is no such version; else as `golden_of`.
    """
    version = live_folder(artifacts / "models" / model)
    if version is None:
        raise GoldenError(
            f"{artifacts / 'models' / model} holds no version of {model}; `conch export {model}` makes one"
        )
    return golden_of(version)


@lru_cache(maxsize=16)
def load_chain(artifacts: Path, model: str, whole: str) -> Golden:
    """Whole sequences for `model`, which keeps a state, as `whole` answers them, which keeps none.

    Where `whole` is the model itself, they are those of its own golden answers. Any other takes [items, time] and
    answers [items, time, ...]; request number t of a sequence carries what stands at time t, and must be answered with
    it. The states themselves are the server's, and not in a request.

    Raises GoldenError when either has no golden answers, or they do not fit together.
    """
    if whole == model:
        return _own_sequences(artifacts, model)
    own, source = load_golden(artifacts, model), load_golden(artifacts, whole)
    asked, answered = list(own.inputs), list(own.outputs)
    try:
        if not len(asked) == len(source.inputs) == 1:
            raise ValueError("one input each is needed")
        (sequences,) = source.inputs.values()
        inputs = {asked[0]: _steps(sequences, own.inputs[asked[0]])}
        outputs = {name: _steps(source.outputs[name], own.outputs[name]) for name in answered}
    except (KeyError, ValueError) as error:
        raise GoldenError(
            f"the golden answers of {whole} (inputs {', '.join(source.inputs)}, outputs {', '.join(source.outputs)}) "
            f"hold no sequences for {model} (input {', '.join(asked)}, outputs {', '.join(answered)})"
        ) from error
    return replace(own, inputs=inputs, outputs=outputs, sha256=sequences_sha256(own.sha256, source.sha256))


def _own_sequences(artifacts: Path, model: str) -> Golden:
    """The sequences that an export left beside the golden answers, each step in the shape of a request."""
    own = load_golden(artifacts, model)
    version = artifacts / "models" / model / own.version
    inputs, outputs = read_sequences(version)
    try:
        return replace(
            own,
            inputs={name: _steps(inputs[name], one) for name, one in own.inputs.items()},
            outputs={name: _steps(outputs[name], one) for name, one in own.outputs.items()},
        )
    except (KeyError, ValueError) as error:
        raise GoldenError(
            f"{version / FILE} holds no sequences of {model}; `conch export {model}` makes them of a recipe with a "
            "chain, else name a model without a state in answers_of"
        ) from error


def _steps(sequences: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Sequences [items, time, ...] with each step in the shape of a request for `one` [items, ...].

    Raises ValueError where that cannot be.
    """
    return sequences.reshape(*sequences.shape[:2], *one.shape[1:])


def keeps_state(artifacts: Path, model: str) -> bool:
    """Whether the server keeps a state for this model between requests, by its configuration."""
    requests = load_golden(artifacts, model).requests
    return requests is not None and requests.in_sequences
