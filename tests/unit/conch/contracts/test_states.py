"""States are paired by the order of their names."""

from conch.contracts.states import swapped_states

STATES = [("c_in", "c_out"), ("h_in", "h_out")]


def test_pairs_are_those_of_the_names_in_order() -> None:
    assert swapped_states(STATES) == ""
    assert swapped_states(STATES[::-1]) == ""
    assert "'cell' with 'hidden_next'" in swapped_states([("hidden", "hidden_next"), ("cell", "memory_next")])
    assert swapped_states([]) == ""
