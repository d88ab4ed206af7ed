"""Locust's own numbers, in a process of their own, for Locust patches it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SCRIPT = """
import locust, json, random
from locust.env import Environment
from loadtest.locust_stats import be_fine
from loadtest.recorder import Tally
be_fine()
environment, tally, draw = Environment(), Tally(), random.Random(0)
values = [draw.lognormvariate(0, 1) for _ in range(1000)] + [0.23] * 500 + [0.26] * 500
for value in values:
    environment.stats.log_request("http", "cnn", value, 1)
    tally.add(value, None)
entry, distribution = environment.stats.get("cnn", "http"), tally.distribution()
for share in (0.5, 0.95, 0.99):
    assert round(entry.get_response_time_percentile(share), 9) == round(distribution.percentile(share * 100).value, 9)
assert 0.23 < 0.25 < 0.26 and {round(key, 3) for key in entry.response_times} >= {0.23, 0.26}
"""


@pytest.mark.slow
def test_locusts_percentiles_are_those_of_the_histogram() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
