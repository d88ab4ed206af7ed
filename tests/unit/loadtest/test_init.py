from pathlib import Path

import pytest

from conch.contracts.promises import Promise, PromiseError, read_promises
from loadtest.init import append, check_absent, entry, measured
from loadtest.recorder import Tally
from loadtest.verdict import judge


def test_limits_are_the_upper_ends_times_the_margin_and_keep_the_run_that_they_are_from() -> None:
    tally = Tally()
    for number in range(500):
        tally.add(1.0 + number / 100, None)
    promise = measured(tally, 60, 2)
    ends = [tally.distribution().percentile(percent).high for percent in (50, 95, 99)]
    for limit, end in zip((promise.p50_ms, promise.p95_ms, promise.p99_ms), ends, strict=True):
        assert limit is not None
        assert end is not None
        assert 2 * end <= limit <= 2.2 * end
    assert {verdict.verdict for verdict in judge(promise, tally)} == {"KEPT"}


@pytest.mark.parametrize("model", ["mine", "2", "on", "null", "a.b", "with-dash"])
def test_an_entry_is_read_back_whatever_the_model_is_called_and_leaves_the_rest(tmp_path: Path, model: str) -> None:
    path = tmp_path / "promises.yaml"
    path.write_text("# mine\nother: {rate: 1, error_rate: 0}")
    promise = Promise(rate=60, error_rate=0, p50_ms=1.2, p95_ms=12, p99_ms=1200)
    append(path, model, promise, "Measured.")
    assert path.read_text() == f"# mine\nother: {{rate: 1, error_rate: 0}}\n# Measured.\n{entry(model, promise)}\n"
    assert read_promises([path]).of(model) == promise
    with pytest.raises(PromiseError, match=f"has an entry for '{model}'"):
        check_absent(path, model)


def test_a_file_that_takes_no_line_at_its_end_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "promises.yaml"
    path.write_text("{other: {rate: 1, error_rate: 0}}\n")
    with pytest.raises(PromiseError, match="write it by hand: mine"):
        append(path, "mine", Promise(rate=1, error_rate=0), "Measured.")
    assert path.read_text() == "{other: {rate: 1, error_rate: 0}}\n"
