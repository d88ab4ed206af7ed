import numpy as np

from loadtest.golden import Golden
from loadtest.streams import Arrival, Sequence, Step
from loadtest.wire import pack

GOLDEN = Golden(
    "stream",
    "1",
    {"token": np.arange(12, dtype=np.int64).reshape(2, 6, 1)},
    {"y": np.arange(12, dtype=np.float32).reshape(2, 6, 1)},
    {},
    "",
)


def arrivals(count: int) -> list[Arrival]:
    sequence = Sequence()
    steps = [Step(sequence, n, n == 0, n == count - 1) for n in range(count)]
    return [Arrival(float(step.number), GOLDEN, [1], True, step=step) for step in steps]


def test_one_request_of_a_sequence_is_under_way_at_a_time_and_in_order() -> None:
    first, second, third = arrivals(3)
    sequence = first.step.sequence  # type: ignore[union-attr]
    assert sequence.may_go(first)
    assert not sequence.may_go(second)
    assert not sequence.may_go(third)
    assert sequence.answered(broken=False) is second
    assert not sequence.may_go(first)
    assert sequence.answered(broken=False) is third
    assert sequence.answered(broken=False) is first
    assert sequence.answered(broken=False) is None
    assert sequence.may_go(second)


def test_a_sequence_stays_broken() -> None:
    first, second, _ = arrivals(3)
    sequence = first.step.sequence  # type: ignore[union-attr]
    assert sequence.may_go(first)
    sequence.answered(broken=True)
    assert sequence.may_go(second)
    sequence.answered(broken=False)
    assert sequence.broken


def test_correlation_ids_differ() -> None:
    assert len({Sequence().id for _ in range(1000)}) == 1000


def test_requests_carry_id_start_end_and_their_own_step() -> None:
    for arrival in arrivals(3):
        step = arrival.step
        assert step is not None
        message = pack("grpc", GOLDEN, arrival.items, step)
        assert message.parameters["sequence_id"].int64_param == step.sequence.id
        assert message.parameters["sequence_start"].bool_param == (step.number == 0)
        assert message.parameters["sequence_end"].bool_param == (step.number == 2)
        assert np.frombuffer(message.raw_input_contents[0], np.int64) == [6 + step.number]
        text = pack("http", GOLDEN, arrival.items, step).body
        assert f'"sequence_id":{step.sequence.id}'.encode() in text
        assert GOLDEN.answers([1], step.number)["y"] == [[6 + step.number]]
