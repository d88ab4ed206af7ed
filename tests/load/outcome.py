"""What a run leaves behind: run.json for the report, and Locust's own page and tables."""

import csv
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from locust.html import get_html_report
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from tests.load.promises import Verdict
from tests.load.run import Finished


def document(run: Finished, verdicts: list[Verdict]) -> dict[str, Any]:
    """run.json: the plan, the counts and latencies (ms) in all and by protocol, and each promise's verdict."""
    total = run.recorder.total()
    return {
        "model": run.plan.model,
        "model_version": run.golden.version,
        "protocol": run.plan.protocol,
        "url": run.plan.url(),
        "rate": run.plan.rate,
        "duration_s": round(run.seconds, 3),
        "users": run.plan.users,
        "batch": run.plan.batch,
        "started": run.started.isoformat(timespec="milliseconds"),
        **total.summary(run.seconds),
        "by_protocol": {
            protocol: tally.summary(run.seconds) for protocol, tally in sorted(run.recorder.by_protocol.items())
        },
        "errors": _errors(run),
        "histogram": total.histogram(),
        "promises": [vars(verdict) for verdict in verdicts],
        "kept": all(verdict.kept for verdict in verdicts),
        "golden_sha256": run.golden.sha256,
        "versions": {
            "locust": version("locust"),
            "tritonclient": version("tritonclient"),
            "python": platform.python_version(),
        },
    }


def write_outcome(run: Finished, verdicts: list[Verdict], folder: Path) -> dict[str, Any]:
    """Put run.json, locust.html and locust_*.csv into `folder` in place of what was there; gives run.json's content.

    Raises OSError where it cannot be written.
    """
    content = document(run, verdicts)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        (part / "run.json").write_text(json.dumps(content, indent=1) + "\n")
        (part / "locust.html").write_text(get_html_report(run.environment, show_download_link=False))
        _write_tables(run, part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return content


def _write_tables(run: Finished, folder: Path) -> None:
    tables = StatsCSV(run.environment, PERCENTILES_TO_REPORT)
    writers = {"stats": tables.requests_csv, "failures": tables.failures_csv, "exceptions": tables.exceptions_csv}
    for name, write in writers.items():
        with (folder / f"locust_{name}.csv").open("w", newline="") as file:
            write(csv.writer(file))


def _errors(run: Finished) -> list[dict[str, Any]]:
    """The failures by message, the most frequent first; users that could not even start are among them."""
    entries = run.environment.stats.errors.values()
    found = [{"protocol": entry.method, "error": str(entry.error), "count": entry.occurrences} for entry in entries]
    runner = run.environment.runner
    exceptions = runner.exceptions.values() if runner else []
    found += [{"protocol": "", "error": str(entry["msg"]), "count": entry["count"]} for entry in exceptions]
    return sorted(found, key=lambda entry: -entry["count"])
