"""Show that states come back in their place: sequences run step by step, by hand and as the server runs them.

By hand is the file as it came: one sequence after the other, each run's state outputs given to the next run's inputs as
they are. As the server does it is the file as it is served: the sequences together, a row each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conch.contracts.comparison import EXACT, TOLERANCES, compare
from serving.errors import ServingError
from serving.onnx_files.asked import Asked
from serving.onnx_files.changed_file import ChangedFile, raw_answers
from serving.onnx_files.changes.change import Arrays
from serving.onnx_files.kept_states import KeptStates
from serving.onnx_files.signature import open_session
from serving.onnx_files.trial import Trial

SEQUENCES, STEPS = 2, 4


def try_sequences(file: ChangedFile, asked: Asked, states: KeptStates, trial: Trial) -> tuple[dict[str, Any], str]:
    """Run two sequences of four steps; one, where requests are not batched.

    Args:
        file: The file and its changes.
        asked: The states by the names of the file as it came.
        states: The states by the names of the file as it is served.
        trial: What the file was shown to run on, of which the steps are made.

    Returns:
        What was shown, for parity.json: `sequences`, `steps`, `largest_difference`; and a doubt, "" where there is
        none: answers that would be the same without the states show nothing of them.

    Raises:
        ServingError: A step is answered otherwise than by hand; step and output are named.
    """
    count = min(SEQUENCES, trial.max_batch_size) or 1
    steps = [_step(trial, states, count, number) for number in range(STEPS)]
    first = {one: np.zeros_like(_rows(trial, trial.feeds[one], range(count))) for one, _ in states.pairs}
    for one, value in states.initial.items():
        first[one][...] = value
    largest = 0.0
    served, forgetful = _as_served(file, states, steps, first)
    for sequence in range(count):
        own = [{name: _rows(trial, array, [sequence]) for name, array in step.items()} for step in steps]
        begins = {name: _rows(trial, array, [sequence]) for name, array in first.items()}
        for number, expected in enumerate(_by_hand(file, asked, own, begins)):
            for name, answer in expected.items():
                got = _rows(trial, served[number][name], [sequence])
                difference, agrees = compare(got, answer, TOLERANCES.get(got.dtype.name, EXACT))
                if not agrees:
                    raise ServingError(
                        f"{file.where}: in a sequence, output {name!r} of step {number + 1} is not what the file as it "
                        f"came answers with its states carried by hand (largest difference {difference:.3g})"
                    )
                largest = max(largest, difference)
    hidden = {other for _, other in states.pairs}
    same = all(np.array_equal(served[-1][name], forgetful[name]) for name in forgetful if name not in hidden)
    doubt = f"its answers after {STEPS} steps are those of the first values of its states" if same else ""
    return {"sequences": count, "steps": STEPS, "largest_difference": largest}, doubt


def _as_served(
    file: ChangedFile, states: KeptStates, steps: Sequence[Arrays], first: Arrays
) -> tuple[list[Arrays], Arrays]:
    """The answers to all steps, and those to the last one without a memory of the others."""
    session, kept, answers = file.session(), first, []
    for step in steps:
        answers.append(raw_answers(session, {**step, **kept}, file.where))
        kept = {one: answers[-1][other] for one, other in states.pairs}
    return answers, raw_answers(session, {**steps[-1], **first}, file.where)


def _by_hand(file: ChangedFile, asked: Asked, steps: Sequence[Arrays], first: Arrays) -> list[Arrays]:
    """The answers of the file as it came to the steps of one sequence, in the form of the file as it is served."""
    session = open_session(file.original, file.where)
    carried: Arrays = {}
    answers = []
    for step in steps:
        found = raw_answers(session, {**file.inputs_before({**step, **first}), **carried}, file.where)
        carried = {one: found[other] for one, other in asked.states}
        answers.append(file.answers(found))
    return answers


def _step(trial: Trial, states: KeptStates, count: int, number: int) -> Arrays:
    """What the requests number `number` of all sequences carry, and the controls that the server adds."""
    hidden = {one for one, _ in states.pairs}
    rows = range(number * count, (number + 1) * count)
    given = {name: _rows(trial, array, rows) for name, array in trial.feeds.items() if name not in hidden}
    says = {"start": number == 0, "end": number == STEPS - 1, "ready": True}
    for name, kind in states.controls.items():
        given[name] = np.full_like(given[name], says[kind])
    return given


def _rows(trial: Trial, array: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """Rows of a batch, from its beginning again where it has fewer; all of it where there is no batch."""
    return array[np.array(rows) % len(array)] if trial.max_batch_size else array
