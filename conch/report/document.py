"""The report for programs: what the page says, as report.json beside it, of the form in report.schema.json."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from conch.report.evidence import Evidence
from conch.report.page import machine, tool_versions
from conch.report.summary import summary_document

FORMAT = 1
"""Raised where a key goes or means something else; further keys may come."""


def report_document(models: list[Evidence]) -> dict[str, Any]:
    """All of it; numbers that JSON has not are for `print_json` to turn into null."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "holds": not any(model.failures for model in models),
        "complete": not any(model.missing for model in models),
        "models": [_model(model) for model in models],
        "versions": tool_versions(models),
    }


def _model(model: Evidence) -> dict[str, Any]:
    load = model.load or {}
    return summary_document(model) | {
        "exporter": model.published.get("exporter"),
        "precision": model.published.get("precision"),
        "opset": model.published.get("opset"),
        "nodes": model.published.get("nodes"),
        "bytes": model.published.get("bytes"),
        "cells": len(model.parity["cells"]),
        "budget": model.parity.get("budget", []),
        "promises": load.get("promises", []),
        "chain": [asdict(link) for link in model.chain],
    }
