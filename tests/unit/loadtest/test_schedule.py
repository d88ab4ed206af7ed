from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from loadtest.scenario import Scenario, read_scenario
from loadtest.schedule import Planned, expected, schedule

TEXT = """
duration: 40s
warmup: 5s
seed: 3
rate: 100
ramps: [{start: 10, end: 20, rate: 200}]
spikes: [{start: 30, end: 32, rate: 600}]
models:
  cnn: {weight: 3, batch: {1: 3, 4: 1}, protocol: {http: 1, grpc: 1}}
  stream: {weight: 1, stream: {length: 10, interval: 0.2, answers_of: lstm}}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    path = tmp_path / "mix.yaml"
    path.write_text(TEXT)
    return read_scenario(path)


def between(planned: list[Planned], start: float, end: float) -> int:
    return sum(start <= entry.offset < end for entry in planned)


def of(planned: list[Planned], model: str) -> list[Planned]:
    return [entry for entry in planned if entry.part.model == model]


def test_rates_ramps_spikes_and_weights_are_as_the_file_says(scenario: Scenario) -> None:
    planned = list(schedule(scenario))
    assert [entry.offset for entry in planned] == sorted(entry.offset for entry in planned)
    cnn = of(planned, "cnn")  # three quarters of the rate; each count within five standard deviations
    assert between(cnn, -5, 0) == pytest.approx(375, abs=97)
    assert between(cnn, 0, 10) == pytest.approx(750, abs=137)
    assert between(cnn, 10, 20) == pytest.approx(1125, abs=168)
    assert between(cnn, 20, 30) == pytest.approx(1500, abs=194)
    assert between(cnn, 30, 32) == pytest.approx(900, abs=150)
    assert between(cnn, 32, 40) == pytest.approx(1200, abs=173)
    streamed = of(planned, "stream")
    assert between(streamed, 2, 10) == pytest.approx(200, abs=5 * 2000**0.5)
    batches, protocols = Counter(entry.batch for entry in cnn), Counter(entry.protocol for entry in cnn)
    assert batches[4] / len(cnn) == pytest.approx(0.25, abs=0.04)
    assert protocols["http"] / len(cnn) == pytest.approx(0.5, abs=0.04)


def test_the_seed_decides_and_workers_differ(scenario: Scenario) -> None:
    def key(planned: Planned) -> tuple[float, str, str, int]:
        return planned.offset, planned.part.model, planned.protocol, planned.batch

    whole = [key(entry) for entry in schedule(scenario)]
    assert whole == [key(entry) for entry in schedule(scenario)]
    shares = [[key(entry) for entry in schedule(scenario, share, 3)] for share in range(3)]
    assert len({entry[0] for share in shares for entry in share}) == sum(len(share) for share in shares)
    assert sum(len(share) for share in shares) == pytest.approx(len(whole), rel=0.1)


def test_sequences_are_in_order_and_each_has_one_start_and_one_end(scenario: Scenario) -> None:
    sequences = defaultdict(list)
    for entry in of(list(schedule(scenario)), "stream"):
        assert entry.step is not None
        sequences[entry.step.sequence.id].append(entry)
    assert len(sequences) > 100
    for entries in sequences.values():
        steps = [entry.step for entry in entries]
        assert [step.number for step in steps if step] == list(range(len(steps)))
        assert [step.start for step in steps if step] == [True] + [False] * (len(steps) - 1)
        assert [step.end for step in steps if step] == [False] * (len(steps) - 1) + [True]
        gaps = [after.offset - before.offset for before, after in pairwise(entries)]
        assert gaps == pytest.approx([0.2] * len(gaps))
        assert len({entry.item_seed for entry in entries}) == len({entry.protocol for entry in entries}) == 1
        assert len(entries) == 10 or entries[-1].offset + 0.2 >= 40  # ended early by the end of the run
        assert entries[-1].offset < 40


def test_expected_is_the_mean_of_what_is_planned(scenario: Scenario) -> None:
    mean, variance = expected(scenario)
    planned = sum(entry.offset >= 0 for entry in schedule(scenario))
    assert planned == pytest.approx(mean, abs=4 * variance**0.5)
    # 10 s at 100/s, 10 s at 150/s, 18 s at 200/s, 2 s at 600/s; less the sequences that end after the run.
    assert mean == pytest.approx(7300, rel=0.01)
    assert mean < 7310
    assert variance > mean
