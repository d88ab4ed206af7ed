"""What is planned for a model whose answers cannot be compared, or that does not take such requests at all."""

from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest

from conch.contracts.requests import Requests
from loadtest import planning
from loadtest.errors import CannotRun
from loadtest.golden import Golden
from loadtest.target import check_alone

GOLDEN = Golden("dice", "1", {"x": np.ones((3, 2))}, {"y": np.ones((3, 2))}, {}, "")
OPTIONS = Namespace(
    scenario="", seed=0, artifacts=".", model="dice", warmup=0.0, duration_s=1.0, replay="", arrivals="constant",
    rate=20.0, workers=1, batch=1, check=1.0,
)  # fmt: skip


@pytest.mark.parametrize("repeatable", [True, False])
def test_answers_that_differ_each_time_are_not_compared(repeatable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = replace(GOLDEN, repeatable=repeatable, model=f"dice_{repeatable}")
    monkeypatch.setattr(planning, "load_golden", lambda artifacts, model: golden)
    arrivals = [arrival for arrival, _ in planning.planned(OPTIONS, 0.0, 0, ["http"])]
    assert len(arrivals) > 10
    assert {arrival.check for arrival in arrivals} == {repeatable}


@pytest.mark.parametrize(
    ("most", "in_sequences", "batch", "words"),
    [
        (0, False, 1, ""),
        (0, False, 2, "--batch 2: dice takes at most 1 in a request"),
        (4, False, 4, ""),
        (4, False, 5, "--batch 5: dice takes at most 4"),
        (4, True, 1, "dice keeps a state between requests: give it a stream in a scenario"),
    ],
)
def test_what_a_configuration_does_not_allow_is_refused(most: int, in_sequences: bool, batch: int, words: str) -> None:
    golden = replace(GOLDEN, requests=Requests(most, frozenset("x"), frozenset("y"), {}, in_sequences))
    check_alone(replace(GOLDEN), 100)  # nothing is known of it
    if words:
        with pytest.raises(CannotRun, match=words):
            check_alone(golden, batch)
    else:
        check_alone(golden, batch)
