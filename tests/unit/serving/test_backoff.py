"""What keeps failing is tried less and less often."""

from serving.server.backoff import Backoff


def test_each_try_waits_twice_as_long_up_to_a_bound_and_old_ones_are_forgotten() -> None:
    now = [0.0]
    backoff = Backoff(first=1.0, longest=10.0, forget=100.0, clock=lambda: now[0])
    assert [backoff.next() for _ in range(6)] == [0, 1, 2, 4, 8, 10]
    assert backoff.tries == 6
    now[0] = 101.0
    assert backoff.next() == 0
    assert backoff.tries == 1
