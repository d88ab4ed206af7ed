"""Which version is live, by the history beside the versions."""

from pathlib import Path

import pytest

from conch.contracts.errors import ConchError
from conch.contracts.live import Decision, config_file, decide, labels_file, live_version, read_history


def versions(model: Path, *numbers: int) -> Path:
    for number in numbers:
        (model / str(number)).mkdir(parents=True)
    return model


def test_the_newest_is_live_where_nothing_was_decided(tmp_path: Path) -> None:
    assert live_version(tmp_path) is None
    assert live_version(versions(tmp_path, 1, 2, 10)) == 10


def test_the_last_decision_holds(tmp_path: Path) -> None:
    model = versions(tmp_path, 1, 2, 3)
    decide(model, Decision(2, 1, "rollout", "new data", {"score": "98 %"}))
    decide(model, Decision(1, 2, "rollback", "wrong on scans"))
    assert live_version(model) == 1
    assert [(entry.version, entry.how, entry.why) for entry in read_history(model)] == [
        (2, "rollout", "new data"), (1, "rollback", "wrong on scans")
    ]  # fmt: skip


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    model = versions(tmp_path, 1, 2)
    (model / ".history.jsonl-abc").write_text('{"versi')
    decide(model, Decision(2, 1, "rollout"))
    assert {entry.name for entry in model.iterdir()} == {"1", "2", "history.jsonl"}


def test_where_the_live_one_was_taken_away_the_next_below_is(tmp_path: Path) -> None:
    model = versions(tmp_path, 1, 3)
    decide(model, Decision(2, 1, "rollout"))
    assert live_version(model) == 1


@pytest.mark.parametrize("line", ["{", '{"version": 2}', "[1]"])
def test_a_damaged_history_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    model = versions(tmp_path, 1, 2)
    decide(model, Decision(1, 2, "rollback"))
    with (model / "history.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ConchError, match=r"history\.jsonl, line 2"):
        live_version(model)


def test_an_older_version_has_the_configuration_that_was_kept(tmp_path: Path) -> None:
    model = versions(tmp_path, 1, 2)
    (model / "configs").mkdir()
    for file in ("config.pbtxt", "labels.txt", "configs/1.pbtxt", "configs/2.pbtxt"):
        (model / file).touch()
    assert (config_file(model, 2), labels_file(model, 2)) == (model / "config.pbtxt", model / "labels.txt")
    assert config_file(model, 1) == model / "configs" / "1.pbtxt"
    assert labels_file(model, 1) == model / "configs" / "1.labels.txt"
