"""How a model's states are paired: by the order of their names, whatever a recipe or a configuration says."""

from collections.abc import Sequence


def swapped_states(states: Sequence[tuple[str, str]]) -> str:
    """What NVIDIA's ONNX Runtime backend would pair otherwise than `states` say, as a sentence; "" where nothing.

    It takes input and output states in the alphabetical order of their names (server issue 8586).

    Args:
        states: Name of each state's input and output.
    """
    inputs, outputs = sorted(one for one, _ in states), sorted(other for _, other in states)
    theirs = list(zip(inputs, outputs, strict=True))
    if sorted(states) == theirs:
        return ""
    wrong = next(f"{one!r} with {other!r}" for one, other in theirs if (one, other) not in states)
    return (
        f"NVIDIA's backend pairs states in the order of their names, the inputs {inputs} with the outputs {outputs}, "
        f"so it would pair {wrong}; name them alike (c_in -> c_out, h_in -> h_out)"
    )
