from pathlib import Path

import pytest

from tests.load.promises import Promise, PromiseError, judge, promise_of, read_promises
from tests.load.recorder import Tally

PROMISE = Promise(rate=100, error_rate=0.01, p50_ms=10, p95_ms=20, p99_ms=30)


def broken(promise: Promise, tally: Tally, seconds: float = 1.0) -> list[str]:
    """The metrics of the promises that were not kept at the promised rate."""
    return [verdict.metric for verdict in judge(promise, tally, promise.rate, seconds) if not verdict.kept]


def answered(count: int, milliseconds: float = 5.0) -> Tally:
    tally = Tally()
    for _ in range(count):
        tally.add(milliseconds, None)
    return tally


def test_fast_right_and_enough_keeps_every_promise() -> None:
    assert broken(PROMISE, answered(100)) == []
    assert broken(PROMISE, answered(91)) == []


def test_each_limit_can_be_broken_alone() -> None:
    slow = answered(94)
    for _ in range(4):
        slow.add(25.0, None)
    assert broken(PROMISE, slow) == []
    for _ in range(2):
        slow.add(100.0, None)
    assert broken(PROMISE, slow) == ["p95_ms", "p99_ms"]
    assert broken(PROMISE, answered(100, 11.0)) == ["p50_ms"]
    assert broken(PROMISE, answered(80)) == ["requests_per_s"]


def test_errors_above_the_share_break_it() -> None:
    tally = answered(99)
    tally.add(1.0, TimeoutError())
    assert broken(PROMISE, tally) == []
    tally.add(1.0, TimeoutError())
    assert broken(PROMISE, tally) == ["error_rate"]


def test_nothing_sent_keeps_nothing() -> None:
    assert broken(PROMISE, Tally()) == ["requests", "p50_ms", "p95_ms", "p99_ms", "error_rate", "requests_per_s"]
    assert broken(Promise(rate=1, error_rate=1), Tally(), seconds=0.0) == ["requests", "requests_per_s"]


def test_all_requests_lost_keeps_no_latency() -> None:
    tally = Tally()
    for _ in range(100):
        tally.add(1.0, ConnectionRefusedError())
    assert broken(PROMISE, tally) == ["p50_ms", "p95_ms", "p99_ms", "error_rate"]


def test_a_broken_promise_reads_as_a_line() -> None:
    (verdict,) = [verdict for verdict in judge(PROMISE, answered(100, 11.0), 100, 1.0) if not verdict.kept]
    assert str(verdict) == "p50_ms 11.007, promised at most 10"


def test_the_promises_of_this_project_are_right() -> None:
    promises = read_promises(Path(__file__).parents[2] / "load" / "promises.yaml")
    assert {"cnn", "resnet", "lstm", "autoencoder", "gan"} <= set(promises)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cnn: {rate: 50, error_rate: 0, p90_ms: 3}", "cnn: unknown 'p90_ms', known are: rate, error_rate, p50_ms"),
        ("cnn: {rate: 50}", "cnn: 'error_rate' is missing"),
        ("cnn: {rate: 0, error_rate: 0}", "cnn: rate must be a number above 0, got 0"),
        ("cnn: {rate: fast, error_rate: 0}", "rate must be a number above 0, got 'fast'"),
        ("cnn: {rate: 1, error_rate: 2}", "error_rate must be a share from 0 to 1, got 2"),
        ("cnn: {rate: 1, error_rate: true}", "error_rate must be"),
        ("cnn: 7", "cnn: expected rate, error_rate"),
        ("[]", "expected models"),
        ("cnn: {", "is no YAML"),
    ],
)
def test_wrong_entry_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "promises.yaml"
    path.write_text(text)
    with pytest.raises(PromiseError, match=words):
        read_promises(path)


def test_missing_file_and_unknown_model_are_said(tmp_path: Path) -> None:
    with pytest.raises(PromiseError, match="No such file"):
        read_promises(tmp_path / "none.yaml")
    with pytest.raises(PromiseError, match="nothing about 'vit'; it knows: cnn"):
        promise_of({"cnn": PROMISE}, "vit", tmp_path / "promises.yaml")
