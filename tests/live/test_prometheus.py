"""A real Prometheus reads a running server: it can answer every query, and panels show something."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from serving.server import ports
from tests.live.test_serving import FREE_PORTS, command, put, wait_for
from tests.support import deployed

SCRAPES = 8
# Of trouble, which there is none of here.
SHOWS_NOTHING = {"Rollouts", "Version that clients get, B"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is missing: apt-get install prometheus"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ "host:port" of a Prometheus that follows the shipped rules and has read both pages some times."""
    folder = tmp_path_factory.mktemp("prometheus")
    artifacts = folder / "artifacts"
    put(artifacts / "models")
    (artifacts / "promises.yaml").write_text("affine: {rate: 10, error_rate: 0.01, p99_ms: 50}\n")
    serve = command("up", "--probe", "0.5s", *FREE_PORTS, artifacts=artifacts)
    prometheus = None
    try:
        wait_for(artifacts / "server" / "state.json", serve)
        state = json.loads((artifacts / "server" / "state.json").read_text())
        config = yaml.safe_load((deployed.FOLDER / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(deployed.RULES)]
        for job, place in zip(config["scrape_configs"], (state["metrics"], state["supervisor_metrics"]), strict=True):
            job["static_configs"] = [{"targets": [place]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        place = f"127.0.0.1:{ports.reserve('127.0.0.1', {'prometheus': 0})['prometheus']}"
        prometheus = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--web.listen-address={place}",
                f"--storage.tsdb.path={folder / 'data'}", "--log.level=error",
            ]
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while _read(place, "count_over_time(conch_server_up[1m])", float(SCRAPES)) is None:
            assert prometheus.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield place
    finally:
        for process in (prometheus, serve):
            if process is not None:
                process.terminate()
                process.wait(60)


def _read(place: str, query: str, at_least: float = 0.0) -> list[dict[str, Any]] | None:
    """What Prometheus answers; None where it does not yet, or the first value is less than `at_least`."""
    try:
        with urllib.request.urlopen(
            f"http://{place}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        pytest.fail(f"{query}: {error.read().decode()}")
    except urllib.error.URLError:
        return None
    return found if not at_least or (found and float(found[0]["value"][1]) >= at_least) else None


def test_every_query_is_answered(address: str) -> None:
    silent = []
    for place, query in deployed.queries().items():
        found = _read(address, query.replace("$__rate_interval", "1m").replace("$model", ".*"))
        assert found is not None, place
        if not found and place not in deployed.alerts() and place not in SHOWS_NOTHING:
            silent.append(place)
    assert not silent


def test_nothing_is_alerted_of_a_server_that_is_well(address: str) -> None:
    with urllib.request.urlopen(f"http://{address}/api/v1/alerts") as answer:
        assert json.load(answer)["data"]["alerts"] == []
    with urllib.request.urlopen(f"http://{address}/api/v1/rules") as answer:
        rules = [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]
    assert len(rules) == len(deployed.rules())
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
