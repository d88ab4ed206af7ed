"""`conch status`: what a server serves."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tyro

from conch.command_line import OUT, print_json
from serving.commands.run import run
from serving.commands.tables import RIGHT, endpoints_table, models_table, server_document
from serving.kserve.address import http_place, same_place
from serving.kserve.endpoint import ModelState, model_states, server_version
from serving.kserve.first_touch import first_touches
from serving.kserve.first_touch import table as first_touch_table
from serving.monitoring.page import last_answers
from serving.server.not_loaded import degraded, with_reasons
from serving.server.running import VARIABLE, running, state_file
from serving.server.server import LOOPBACK


def status(url: str | None = None, first_touch: bool = False, json: bool = False) -> int:
    """Show what a server serves. Exit code 1 without one, where not all is ready, or a probe got no right answer.

    For example: conch status --first-touch

    Args:
        url: Its HTTP address, http://host:port or host:port. Default: CONCH_HTTP, else that of the server that serve
            started, else http://127.0.0.1:8000.
        first_touch: Ask each model once for each batch size, then 20 times more, and compare. Only right after a start
            are these its first requests; the table says where they are not.
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    known = running(Path(os.environ.get(VARIABLE) or state_file()))
    address = http_place(url or os.environ.get("CONCH_HTTP") or (known.http if known else f"{LOOPBACK}:8000"))
    if known and not same_place(known.http, address):
        known = None
    metrics = known.metrics if known else None
    if metrics is None and _environment_names(address):
        metrics = http_place(os.environ["CONCH_METRICS"]).removesuffix("/metrics")
    states, version = model_states(address), server_version(address)
    if known:
        states = with_reasons(states, [ModelState(**state) for state in known.not_loaded])
        states = degraded(states, known.troubles)
    probed = last_answers(known.supervisor_metrics) if known and known.supervisor_metrics else {}
    well = all(state.ready for state in states) and all(answer in RIGHT for answer in probed.values())
    if json:
        grpc = known.grpc if known else None
        touches = [asdict(touch) for touch in first_touches(address, states)] if first_touch else None
        supervisor, guard = (known.supervisor_metrics, known.guard) if known else (None, None)
        found = server_document(states, address, grpc, metrics, supervisor, guard, probed)
        restarts = known.restarts if known else None
        print_json({"server": version} | found | {"first_touch": touches, "restarts": restarts})
        return 0 if well else 1
    OUT.print(f"{version} at http://{address}", highlight=False)
    OUT.print(models_table(states, metrics, probed))
    if first_touch:
        OUT.print(first_touch_table(first_touches(address, states)))
    if known and known.restarts:
        OUT.print(
            f"started again {len(known.restarts)} times, the last time because {known.restarts[-1]}",
            style="yellow", highlight=False, markup=False,
        )  # fmt: skip
    if known:
        OUT.print(endpoints_table(known.http, known.grpc, known.metrics, known.supervisor_metrics, known.guard))
    return 0 if well else 1


def _environment_names(address: str) -> bool:
    """Whether CONCH_HTTP is this place, so that CONCH_METRICS is of the same server."""
    here, metrics = os.environ.get("CONCH_HTTP"), os.environ.get("CONCH_METRICS")
    return bool(here and metrics) and same_place(http_place(here or ""), address)


def main(words: Sequence[str]) -> int:
    """Run `conch status` with these words; the exit code."""
    return run(lambda: tyro.cli(status, prog="conch status", args=words))
