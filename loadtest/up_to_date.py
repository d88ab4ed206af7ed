"""Whether a load test would show again what it has shown: `--if-changed` keeps such a one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clients.address import resolve
from conch.contracts.fingerprint import package_versions, sha256_of_json
from conch.contracts.promises import Promise
from loadtest.errors import CannotRun
from loadtest.outcome import PACKAGES, SCHEMA, machine
from loadtest.run import Plan, asked_of
from loadtest.served import served_config, server_version


def fingerprint(plan: Plan, promises: Mapping[str, Promise]) -> str:
    """Hash of all that decides a run but chance: the load, promises, golden answers, what the server says of itself and
    of the models, the machine that sends and its packages. "" where the server says nothing, for it may have died under
    the run before: that of this model is made all the same, and shows so.

    Raises:
        GoldenError, ScenarioError, OSError: a file cannot be read.
    """
    golden = plan.golden()
    try:
        told = _told(plan, list(golden))
    except CannotRun:
        return ""
    return sha256_of_json(
        {
            "schema": SCHEMA,
            "asked": asked_of(plan).content,
            "sent": [plan.users, plan.seed, plan.check],
            "promises": {model: asdict(promise) for model, promise in promises.items()},
            "golden": {model: [own.version, own.sha256] for model, own in golden.items()},
            **told,
            "machine": machine(),
            "packages": package_versions(*PACKAGES),
        }
    )


def _told(plan: Plan, models: Sequence[str]) -> dict[str, Any]:
    """What the server says of itself and of the models."""
    address = resolve(plan.grpc if plan.protocol == "grpc" else plan.http)
    return {
        "server": server_version(address, plan.access),
        "served": {model: served_config(address, plan.access, model) for model in models},
    }


def kept_run(folder: Path, own: str) -> dict[str, Any] | None:
    """The run.json in `folder` where it has this fingerprint and every promise was kept; else None: what was broken or
    showed nothing is run again."""
    try:
        run: dict[str, Any] = json.loads((folder / "run.json").read_text())
        return run if own and run["fingerprint"] == own and run["verdict"] == "KEPT" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def up_to_date(name: str, run: Mapping[str, Any]) -> str:
    """The line that says so."""
    return f"{name}: up to date, its promises were kept by the same server at {run['started']}"
