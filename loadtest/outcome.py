"""What a run leaves behind: run.json, its page, and Locust's own page and tables. docs/load.md has the keys."""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from locust.html import get_html_report

from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import package_versions, sha256_of_json
from conch.contracts.whole import whole_folder
from loadtest.errors import CannotRun
from loadtest.latency import Distribution
from loadtest.locust_page import with_verdict
from loadtest.locust_stats import write_tables
from loadtest.page import render_page
from loadtest.recorder import Second, histogram_pairs, latencies
from loadtest.run import Finished
from loadtest.verdict import Check, Verdict, conclude

SCHEMA = 3
PACKAGES = ("locust", "tritonclient", "hdrhistogram")


def document(
    run: Finished, judged: dict[str, list[Verdict]], found: list[Check], fingerprint: str = ""
) -> dict[str, Any]:
    """run.json, of the verdicts on each model and what made the run valid."""
    recorder, plan = run.recorder, run.plan
    total = recorder.total()
    summary = total.summary(run.seconds)
    outcome = conclude([verdict for verdicts in judged.values() for verdict in verdicts], found)
    golden = {model: own.sha256 for model, own in run.golden.items()}
    return {
        "schema": SCHEMA,
        "verdict": outcome,
        "model": plan.model,
        "model_version": ", ".join(own.version for own in run.golden.values()),
        "protocol": plan.protocol,
        "url": plan.url(),
        "arrivals": plan.pattern,
        "rate": plan.rate,
        "duration_s": round(run.seconds, 3),
        "warmup_s": plan.warmup,
        "users": plan.users,
        "batch": plan.batch,
        "seed": plan.seed,
        "in_time_ms": plan.in_time_ms.get(plan.model),
        "started": run.started.isoformat(timespec="milliseconds"),
        **summary,
        "by_protocol": {
            protocol: tally.summary(run.seconds) for protocol, tally in sorted(recorder.by_protocol.items())
        },
        "errors": _errors(run),
        "histogram": histogram_pairs(total.response),
        "service_histogram": histogram_pairs(total.service),
        "series": _series(recorder.seconds),
        "parts": [
            {
                "model": model,
                "protocol": protocol,
                **part.tally.summary(run.seconds),
                "histogram": histogram_pairs(part.tally.response),
                "service_histogram": histogram_pairs(part.tally.service),
                "series": _series(part.seconds),
            }
            for (model, protocol), part in sorted(recorder.parts.items())
        ],
        "server": {
            "split": {model: run.server.split(model, _service_mean(run, model)) for model in run.golden}
            if run.server
            else {},
            "samples": run.server.samples if run.server else [],
        },
        "generator": _generator(run),
        "promises": [
            {"model": model} | asdict(verdict) | {"kept": verdict.kept}
            for model, verdicts in judged.items()
            for verdict in verdicts
        ],
        "checks": [asdict(check) for check in found],
        "kept": outcome == "KEPT",
        # Of one model it is that of its golden.npz.
        "golden_sha256": golden[plan.model] if plan.model in golden else sha256_of_json(golden),
        "scenario": run.asked.content,
        "scenario_file": run.asked.text,
        "scenario_sha256": sha256_of_json(run.asked.content),
        "fingerprint": fingerprint,
        "machine": machine(),
        "versions": package_versions(*PACKAGES),
    }


def write_outcome(
    run: Finished, judged: dict[str, list[Verdict]], found: list[Check], folder: Path, fingerprint: str = ""
) -> dict[str, Any]:
    """Put run.json, its page, locust.html and locust_*.csv into `folder` in place of what was there; gives run.json's
    content. `fingerprint` is that of `loadtest.up_to_date`, "" where nothing was asked of it.

    run.json is there before anything else is made. What then cannot be made is left out, with a line on standard error.

    Raises CannotRun where `folder` cannot be written: it names the folder of temporary files that run.json is in.
    """
    content = document(run, judged, found, fingerprint)
    text = json.dumps(content) + "\n"
    try:
        with whole_folder(folder) as part:
            (part / "run.json").write_text(text)
    except (ConchError, OSError) as error:
        raise CannotRun(f"{error}; run.json is in {_elsewhere(text)}") from error
    try:
        with whole_folder(folder) as part:
            (part / "run.json").write_text(text)
            lost = _make(run, json.loads(text), part)
    except (ConchError, OSError) as error:
        lost = [str(error)]
    for reason in lost:
        sys.stderr.write(f"warning: {folder / 'run.json'} is whole, but {reason}\n")
    return content


def _make(run: Finished, content: dict[str, Any], folder: Path) -> list[str]:
    """All but run.json; what failed, with its reason."""
    parts: dict[str, Callable[[], object]] = {
        "index.html": lambda: (folder / "index.html").write_text(render_page(content), encoding="utf-8"),
        "locust.html": lambda: (folder / "locust.html").write_text(
            with_verdict(get_html_report(run.environment, show_download_link=False), content)
        ),
        "locust_*.csv": lambda: write_tables(run.environment, folder),
    }
    lost = []
    for name, make in parts.items():
        try:
            make()
        except Exception as error:  # whatever it is, what was measured does not depend on it
            for begun in folder.glob(name):
                begun.unlink()
            lost.append(f"{name} cannot be made ({type(error).__name__}: {' '.join(str(error).split())})")
    return lost


def _elsewhere(text: str) -> Path | str:
    """A new folder of temporary files with run.json in it."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="conch-load-"))
        (folder / "run.json").write_text(text)
    except OSError as error:
        return f"no other place either ({error})"
    return folder


def machine() -> dict[str, Any]:
    """What the load was made on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
    }


def _service_mean(run: Finished, model: str) -> float | None:
    mean: float | None = run.recorder.total(model).summary(run.seconds)["service_ms"]["mean"]
    return mean


def _series(seconds: dict[int, Second]) -> list[dict[str, Any]]:
    """Second by second, by the time a request was planned for: counts and the response times [bucket ms, count]."""
    return [
        {
            "t": number,
            "requests": second.requests,
            "failures": second.failures,
            "response": sorted(second.response.items()),
        }
        for number, second in sorted(seconds.items())
    ]


def _generator(run: Finished) -> dict[str, Any]:
    watch = run.recorder.watch
    tally = run.recorder.total()
    return {
        "scheduled": watch.scheduled,
        "late_share": round(tally.late / tally.requests, 6) if tally.requests else 0.0,
        "loop_cpu": round(watch.busiest, 4),
        "loop_lag_ms": latencies(Distribution(histogram_pairs(watch.wakes))),
        "users": watch.users,
        "most_used": watch.most_used,
        "exhausted": watch.exhausted,
        "processes": watch.workers,
    }


def _errors(run: Finished) -> list[dict[str, Any]]:
    """The failures by message, the most frequent first; users that could not even start are among them."""
    entries = run.environment.stats.errors.values()
    found = [{"protocol": entry.method, "error": str(entry.error), "count": entry.occurrences} for entry in entries]
    runner = run.environment.runner
    exceptions = runner.exceptions.values() if runner else []
    found += [{"protocol": "", "error": str(entry["msg"]), "count": entry["count"]} for entry in exceptions]
    return sorted(found, key=lambda entry: -entry["count"])
