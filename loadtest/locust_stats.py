"""Locust's own page, console and tables with the percentiles that the histograms have.

Locust keeps a count for every rounded response time, so rounding as HdrHistogram does gives its digits. Both functions
are module-level for that: https://docs.locust.io, "customizing response time bucketing".
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import locust.stats
from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV, StatsEntry

from loadtest.latency import nearest_rank, quantised_ms


def be_fine() -> None:
    """From now on, in this process, for every environment."""
    locust.stats.bucket_response_time = quantised_ms  # type: ignore[assignment]
    locust.stats.calculate_response_time_percentile = _percentile  # type: ignore[assignment]
    StatsCSV._percentile_fields = _percentile_fields  # type: ignore[assignment, method-assign]


def _percentile(response_times: Mapping[float, int], num_requests: int, percent: float) -> float:
    """By nearest rank, as everywhere here."""
    rank, seen = nearest_rank(num_requests, percent), 0
    for bound in sorted(response_times):
        seen += response_times[bound]
        if seen >= rank:
            return bound
    return 0.0


def _percentile_fields(self: StatsCSV, entry: StatsEntry, use_current: bool = False) -> list:
    """As Locust's, without cutting to whole milliseconds."""
    if not entry.num_requests:
        return self.percentiles_na
    percentile = entry.get_current_response_time_percentile if use_current else entry.get_response_time_percentile
    return [round(percentile(share) or 0, 5) for share in self.percentiles_to_report]


def write_tables(environment: Environment, folder: Path) -> None:
    """Locust's CSV files: locust_stats.csv, locust_failures.csv, locust_exceptions.csv."""
    tables = StatsCSV(environment, PERCENTILES_TO_REPORT)
    writers = {"stats": tables.requests_csv, "failures": tables.failures_csv, "exceptions": tables.exceptions_csv}
    for name, write in writers.items():
        with (folder / f"locust_{name}.csv").open("w", newline="") as file:
            write(csv.writer(file))
