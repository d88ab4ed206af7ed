import pytest

from conch.contracts.answers import WrongAnswer
from conch.contracts.promises import Promise
from loadtest.recorder import Part, Recorder
from loadtest.verdict import Check, Verdict, checks, conclude, judge, stopped_check

PROMISE = Promise(rate=100, error_rate=0.01, p50_ms=10, p95_ms=20, p99_ms=30)


def recorder_of(latencies: list[tuple[float, float]]) -> Recorder:
    """Of requests with these response and service times, all of them planned and sent, by an idle generator."""
    recorder = Recorder()
    tally = recorder.parts.setdefault(("cnn", "http"), Part()).tally
    for response, service in latencies:
        tally.add(response, None, service)
    recorder.watch.scheduled = len(latencies)
    return recorder


def outcome(recorder: Recorder, rate: float = 100.0, pattern: str = "poisson") -> tuple[str, list[str]]:
    """The verdict, and what is broken or invalid."""
    verdicts = judge(PROMISE, recorder.total())
    found = checks(recorder, verdicts, rate, recorder.watch.scheduled / rate or 1.0, pattern)
    reasons = [verdict.metric for verdict in verdicts if verdict.verdict == "BROKEN"]
    return conclude(verdicts, found), reasons + [check.name for check in found if not check.ok]


def test_fast_right_and_enough_keeps_every_promise() -> None:
    assert outcome(recorder_of([(5.0, 4.9)] * 500)) == ("KEPT", [])


def test_each_limit_can_be_broken_alone() -> None:
    assert outcome(recorder_of([(11.0, 11.0)] * 500)) == ("BROKEN", ["p50_ms"])
    assert outcome(recorder_of([(5.0, 5.0)] * 475 + [(100.0, 100.0)] * 25)) == ("BROKEN", ["p99_ms", "samples"])
    assert outcome(recorder_of([(5.0, 5.0)] * 450 + [(25.0, 25.0)] * 50)) == ("BROKEN", ["p95_ms"])


def test_too_few_to_tell_is_invalid_and_says_so() -> None:
    assert outcome(recorder_of([(5.0, 5.0)] * 367)) == ("INVALID", ["samples"])
    assert outcome(recorder_of([(5.0, 5.0)] * 368)) == ("KEPT", [])
    # Six of 500 above the limit: the p99 may be on either side of it.
    assert outcome(recorder_of([(5.0, 5.0)] * 494 + [(40.0, 40.0)] * 6)) == ("INVALID", ["samples"])
    verdict = judge(PROMISE, recorder_of([(5.0, 5.0)] * 367).total())[2]
    assert str(verdict) == "p99_ms n too small (95 % interval 5.00223 to ?), promised at most 30"


def test_few_samples_are_enough_to_break() -> None:
    assert outcome(recorder_of([(50.0, 50.0)] * 60))[0] == "BROKEN"


def test_wrong_answers_break_even_an_invalid_run() -> None:
    recorder = recorder_of([(5.0, 5.0)] * 490)
    for _ in range(10):
        recorder.parts["cnn", "http"].tally.add(5.0, WrongAnswer("y"))
    recorder.watch.scheduled += 10
    recorder.watch.busiest = 1.0
    assert outcome(recorder) == ("BROKEN", ["error_rate", "cpu"])


def test_lost_requests_are_slower_than_any_answer() -> None:
    recorder = recorder_of([(5.0, 5.0)] * 250)
    for _ in range(250):
        recorder.parts["cnn", "http"].tally.add(0.1, TimeoutError())
    recorder.watch.scheduled += 250
    assert outcome(recorder)[1] == ["p95_ms", "p99_ms", "error_rate", "samples"]


def test_nothing_sent_is_invalid() -> None:
    assert outcome(Recorder())[0] == "INVALID"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cpu", {"busiest": 0.95}),
        ("pool", {"exhausted": 1}),
        ("complete", {"scheduled": 510}),
    ],
)
def test_a_generator_at_its_end_makes_the_run_invalid(name: str, change: dict[str, float]) -> None:
    recorder = recorder_of([(5.0, 5.0)] * 500)
    vars(recorder.watch).update(change)
    assert outcome(recorder) == ("INVALID", [name])


def test_the_generators_own_delay_is_not_the_servers() -> None:
    assert outcome(recorder_of([(50.0, 5.0)] * 100 + [(5.0, 5.0)] * 400))[0] == "INVALID"
    assert "own delay" in outcome(recorder_of([(50.0, 5.0)] * 100 + [(5.0, 5.0)] * 400))[1]
    assert outcome(recorder_of([(5.0, 3.0)] * 500)) == ("INVALID", ["late"])


def test_another_rate_than_planned_is_invalid() -> None:
    recorder = recorder_of([(5.0, 5.0)] * 500)
    verdicts = judge(PROMISE, recorder.total())
    assert [check.name for check in checks(recorder, verdicts, 100, 10.0, "poisson") if not check.ok] == ["rate"]
    assert [check.name for check in checks(recorder, verdicts, 100, 10.0, "closed") if not check.ok] == ["rate"]
    assert [check.name for check in checks(recorder, verdicts, 100, 10.0, "replay") if not check.ok] == []


def test_precedence() -> None:
    def verdict(outcome: str) -> Verdict:
        return Verdict("p50_ms", 1, 1, 1, 1, outcome)  # type: ignore[arg-type]

    assert conclude([verdict("BROKEN")], [Check("cpu", False, "")]) == "INVALID"
    assert conclude([verdict("BROKEN")], [Check("samples", False, "")]) == "BROKEN"
    assert conclude([verdict("KEPT")], [Check("samples", False, "")]) == "INVALID"


def test_where_nothing_was_answered_nothing_is_kept() -> None:
    """Not even a promise that bears every request to fail."""
    recorder = recorder_of([])
    tally = recorder.parts["cnn", "http"].tally
    for _ in range(100):
        tally.add(5.0, ConnectionError())
    recorder.watch.scheduled = 100
    anything = Promise(rate=100, error_rate=1)
    verdicts = judge(anything, tally)
    found = checks(recorder, verdicts, 100.0, 1.0, "poisson")
    assert conclude(verdicts, found) == "INVALID"
    assert [check.says for check in found if not check.ok] == ["none of 100 requests was answered"]
    tally.add(5.0, WrongAnswer("wrong"))
    assert all(check.ok for check in checks(recorder, verdicts, 100.0, 1.0, "poisson"))


def test_a_run_that_was_stopped_is_invalid() -> None:
    assert stopped_check(0, 20, 20) == []
    assert stopped_check(2, 20, 20) == []  # while the last answers were waited for
    (check,) = stopped_check(15, 3.25, 20)
    assert (check.ok, check.says) == (False, "ended by SIGTERM after 3.2 of 20 s")


def test_an_invalid_run_says_what_would_do() -> None:
    recorder = recorder_of([(5.0, 5.0)] * 100)
    recorder.watch.busiest, recorder.watch.exhausted, recorder.watch.users = 1.0, 3, 256
    found = {
        check.name: check.says for check in checks(recorder, judge(PROMISE, recorder.total()), 100, 1.0, "poisson")
    }
    assert "a duration of 5s would do" in found["samples"]
    assert "a rate of 81/s would do" in found["cpu"]
    assert "--users 257 would do" in found["pool"]
