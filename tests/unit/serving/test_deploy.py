"""The alert rules, by promtool against recorded series, and the dashboard, by Grafana's own types."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support import deployed, promql

RECORDED = Path(__file__).with_name("alerts_test.yaml")
PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing: apt-get install prometheus")


def checked(*words: str) -> str:
    """What promtool says of success; else its complaint fails the test."""
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@promtool
def test_each_alert_fires_and_is_silent_as_recorded() -> None:
    checked("check", "config", str(deployed.FOLDER / "prometheus.yaml"))
    checked("test", "rules", str(RECORDED))


def test_each_alert_is_recorded_firing_and_silent() -> None:
    seen: dict[str, set[bool]] = {name: set() for name in deployed.alerts()}
    for case in yaml.safe_load(RECORDED.read_text())["tests"]:
        for expected in case["alert_rule_test"]:
            seen[expected["alertname"]].add(bool(expected["exp_alerts"]))
    assert {name: both for name, both in seen.items() if both != {True, False}} == {}


def test_each_alert_is_explained_and_each_explained_one_exists() -> None:
    sections = dict(re.findall(r"^### (Conch\w+)\n\n(.*?)(?=^##)", PAGE + "\n## ", re.MULTILINE | re.DOTALL))
    assert sorted(sections) == sorted(deployed.alerts())
    for name, text in sections.items():
        assert "```sh" in text, f"{name}: what to type"
        rule = deployed.alerts()[name]
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert f"({rule['labels']['severity']})" in text, name


def test_the_dashboard_is_what_grafana_takes() -> None:
    """Read and written again by Grafana's own types, which drop what they do not know."""
    register_default_plugins()
    document = deployed.dashboard()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(document)))
    assert lost(document, again) == []
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    (source,) = [variable for variable in document["templating"]["list"] if variable["type"] == "datasource"]
    for panel in deployed.panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["targets"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": f"${{{source['name']}}}"}, panel["title"]


def lost(one: Any, other: Any, path: str = "") -> list[str]:
    """The paths in `one` whose values `other` does not have."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [name for key in one for name in lost(one[key], other.get(key, KeyError), f"{path}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [name for place, item in enumerate(one) for name in lost(item, other[place], f"{path}/{place}")]
    return [] if one == other else [path]


def test_no_two_panels_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in deployed.dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_the_check_of_queries_finds_what_is_not_there() -> None:
    known = promql.exposed('a{model="x",version="1"} 1\nb 2\n')
    assert promql.unanswered('sum by (model) (rate(a{version="1"}[5m])) / on (model) group_left a', known) == []
    assert promql.unanswered("rate(c[5m]) > 0", known) == ["no metric c"]
    assert promql.unanswered('a{reason="y"}', known) == ["no label reason on a"]
    assert promql.unanswered("sum by (model) (b)", known) == ["no label model on b"]
    assert promql.unanswered("b and on (model) a", known) == ["no label model on b"]
    with pytest.raises(ValueError, match="parenthesis"):
        promql.unanswered("sum by (model (b)", known)
