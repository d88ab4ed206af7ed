"""Whoever changes a repository waits for who holds it: the publisher, `lint --fix` and `tune --write` alike."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serving.lint.check import lint_model
from serving.lint.fixing import apply_fixes
from serving.repository.configuration import parse
from serving.repository.locking import locked
from serving.tune.candidates import Candidate
from serving.tune.write import write_winner
from tests.support.lint_cases import CASES, publish_clean

# Each is done in a tenth of this where nobody holds the repository; a slow machine only makes the test weaker.
PATIENCE_S = 1.0


def publish_again(model: Path) -> None:
    publish_clean(model.parents[1], "classify")


def fix(model: Path) -> None:
    _, harm = CASES["no-warm-up"]
    harm(model)
    assert apply_fixes(model, lint_model(model))


def tune(model: Path) -> None:
    measured = (model / "config.pbtxt").read_text()
    winner = replace(Candidate.of(parse(measured)), model="classify", instances=3)
    write_winner(model.parent, winner, measured, model / "1", "faster")


@pytest.mark.parametrize("write", [publish_again, fix, tune])
def test_a_writer_waits_for_who_holds_the_repository(write: Callable[[Path], None], tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "classify")
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            write(model)
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=attempt, daemon=True)
    with locked(model.parent):
        writer.start()
        writer.join(PATIENCE_S)
        assert writer.is_alive(), failures or "it did not wait"
    writer.join(30)
    assert not writer.is_alive()
    assert failures == []
