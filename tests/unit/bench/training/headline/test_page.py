"""The page says what the results say: nothing that was not measured is met, and nothing else of it is touched."""

from dataclasses import replace
from pathlib import Path

import pytest

from conch.contracts.errors import ConchError
from tests.bench.training.headline.judgement import Judgement, Table
from tests.bench.training.headline.page import all_met, duration, floor_checks, section, write_page
from tests.bench.training.headline.results import Result, read_result
from tests.bench.training.headline.runs import RUNS, Run, find_runs
from tests.bench.training.headline.timed_training import Training
from training.recipe import Metric

RUN = Run("small", "A small one", ("cnn", "--epochs", "1"), 2, {"accuracy": 90.0, "loss": 0.5})
TRAINING = Training(RUN.command, 83.2, 0.01, "2026-01-02", "a machine", "0123456789abcdef+", "w" * 64)
RESULT = Result(
    run="small",
    training=TRAINING,
    judgement=Judgement(
        (Metric("accuracy", 91.234, "%"), Metric("loss", 0.4, higher_is_better=False), Metric("extra", 12.3456)),
        "By looking.",
        (Table("Some", ("who", "count"), (("a|b", "1,234"), ("c", "**5.0**"))),),
        {"small-curves.png": "Curves"},
        "ROMEO:\n```",
    ),
    settings={"epochs": 1, "note": ""},
    parameters=61_706,
    examples_per_second=1234.5,
    data={"name": "digits"},
    weights="w" * 64,
    packages={"python": "3", "torch": "2"},
    judged="2026-01-03",
)


def with_metric(name: str, value: float) -> Result:
    metrics = tuple(replace(one, value=value) if one.name == name else one for one in RESULT.judgement.metrics)
    return replace(RESULT, judgement=replace(RESULT.judgement, metrics=metrics))


def test_floors_are_held_in_their_own_direction() -> None:
    assert [str(one) for one in floor_checks(RUN, RESULT)] == ["met"] * 3
    assert [(one.required, one.reached) for one in floor_checks(RUN, RESULT)] == [
        ("at least 90 %", "91.23 %"), ("at most 0.5", "0.4000"), ("at most 2 min", "1 min 23 s"),
    ]  # fmt: skip
    assert [one.met for one in floor_checks(RUN, with_metric("accuracy", 89.99))] == [False, True, True]
    assert [one.met for one in floor_checks(RUN, with_metric("loss", 0.51))] == [True, False, True]
    assert not all_met(RUN, with_metric("loss", float("nan")))


def test_the_time_limit_is_a_floor() -> None:
    assert all_met(RUN, replace(RESULT, training=replace(TRAINING, seconds=120.0)))
    assert not all_met(RUN, replace(RESULT, training=replace(TRAINING, seconds=120.1)))


def test_what_was_not_measured_is_not_met() -> None:
    assert [str(one) for one in floor_checks(RUN, None)] == ["not run"] * 3
    untimed = floor_checks(RUN, replace(RESULT, training=None))
    assert (untimed[-1].reached, str(untimed[-1])) == ("not measured", "**missed**")


def test_a_floor_of_an_unknown_metric_is_an_error() -> None:
    with pytest.raises(ConchError, match="no metric 'accurracy'; there are: accuracy, loss, extra"):
        floor_checks(replace(RUN, floors={"accurracy": 1}), RESULT)


def test_the_section() -> None:
    text = section([RUN, RUNS[1]], {"small": RESULT})
    assert "### 1 of 2 runs meet all their floors" in text
    assert "| [A small one](#small-run) | accuracy | at least 90 % | 91.23 % | met |" in text
    assert "| [ResNet-20 on Fashion-MNIST](#resnet-run) | accuracy | 93 | - | not run |" in text
    assert "61,706 parameters; epochs 1. Trained 2026-01-02 in 1 min 23 s (1,234 examples/s) on a machine; " in text
    assert "commit 0123456789 with changes" in text
    assert "Also: extra 12.35." in text
    assert "| who | count |\n|---|---:|\n| a\\|b | 1,234 |\n| c | **5.0** |" in text
    assert "![Curves](training/small-curves.png)" in text
    assert "```text\nROMEO:\n'''\n```" in text
    assert "* small" not in text


@pytest.mark.parametrize(
    ("training", "warning"),
    [
        (None, "small: judged from a checkpoint that this runner did not train"),
        (replace(TRAINING, command="conch train cnn"), "small: made by `conch train cnn`; the table now"),
        (replace(TRAINING, others=0.5), "small: other processes took 50% of the machine"),
    ],
)
def test_what_a_reader_must_know_stands_below_the_table(training: Training | None, warning: str) -> None:
    assert f"* {warning}" in section([RUN], {"small": replace(RESULT, training=training)})


def test_the_page_has_the_section_between_its_markers_or_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "training.md"
    page.write_text("# Training\n")
    with pytest.raises(ConchError, match="does not have the two markers once and in order; put the lines"):
        write_page(page, [RUN], {"small": RESULT})
    page.write_text("# Training\n<!-- begin headline -->\nold\n<!-- end headline -->\n")
    write_page(page, [RUN], {"small": RESULT})
    assert page.read_text() == (
        "# Training\n<!-- begin headline -->\n" + section([RUN], {"small": RESULT}) + "\n<!-- end headline -->\n"
    )


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    RESULT.write(tmp_path)
    assert read_result(RUN, tmp_path) == RESULT
    assert read_result(RUNS[0], tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["small.json"]


@pytest.mark.parametrize("content", ['{"format": 1}', '{"format": 1, "judgement": {"metrics": [{}]}}'])
def test_a_damaged_result_is_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "small.json").write_text(content)
    with pytest.raises(ConchError, match=r"make it again: python -m tests\.bench\.training\.headline small$"):
        read_result(RUN, tmp_path)


def test_runs_are_found_in_the_order_of_the_table() -> None:
    assert [run.name for run in find_runs(["gan", "lenet"])] == ["lenet", "gan"]
    assert find_runs(["all"]) == find_runs([]) == list(RUNS)
    with pytest.raises(ConchError, match="no headline run 'cnn'; there are: lenet, resnet, lstm"):
        find_runs(["cnn"])


@pytest.mark.parametrize(("seconds", "shown"), [(7.4, "7 s"), (59.6, "1 min 0 s"), (2100, "35 min 0 s")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
