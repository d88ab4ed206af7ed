"""What the kit ships for those who watch its servers: the alert rules and the dashboard, and all of their queries."""

import json
from importlib.resources import files
from typing import Any

import yaml

FOLDER = files("serving") / "deploy"
RULES, DASHBOARD = FOLDER / "alerts.yaml", FOLDER / "dashboard.json"


def rules() -> list[dict[str, Any]]:
    """Each rule, recording or alerting."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Each alert by its name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana takes it."""
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Where it stands -> the query, of rules and dashboard."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for panel in panels():
        found |= {f"{panel['title']}, {target['refId']}": target["expr"] for target in panel["targets"]}
    found |= {note["name"]: note["expr"] for note in dashboard()["annotations"]["list"]}
    return found
