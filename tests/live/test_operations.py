"""What a person on call is told of a server that runs."""

import json
import re
import sys
import time
from pathlib import Path

import onnx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.commands.serve import LOADS_ON_DEMAND
from serving.monitoring.health import Health
from serving.monitoring.metrics import SupervisorMetrics
from serving.monitoring.monitor import Monitor
from serving.monitoring.question import Door
from serving.repository.configuration import parse, render
from serving.repository.publish import publish
from serving.server.server import Server
from serving.server.supervisor import Supervisor
from tests.live.test_sequence_start import PICKED
from tests.live.test_serving import FREE_PORTS, put, run
from tests.support import deployed, graphs, promql

BIN = Path(sys.executable).parent


def test_each_event_is_an_object_a_line_where_asked_for(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    put(artifacts / "models")
    (artifacts / "models" / "broken" / "1").mkdir(parents=True)
    call = [sys.executable, "-c", "import sys; print('the command')"]
    code, output, errors = run("up", "--log-format", "json", *FREE_PORTS, "--", *call, artifacts=artifacts)
    assert code == 3
    assert output == "the command\n"
    events = [json.loads(line) for line in errors.splitlines()]
    assert [event["event"] for event in events] == ["model_not_loaded", "server_ready", "server_stopping"]
    assert (events[0]["level"], events[0]["model"]) == ("error", "broken")
    assert events[0]["fields"]["reason"]
    assert (events[1]["fields"]["ready"], events[1]["fields"]["versions"]) == (1, 2)
    code, output, errors = run("up", "--log-format", "json", "--repository", "/none", *FREE_PORTS, artifacts=artifacts)
    (event,) = [json.loads(line) for line in errors.splitlines()]
    assert (code, output, event["event"], event["level"]) == (1, "", "server_failed", "error")
    assert "/none" in event["message"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Triton's metrics and the supervisor's, of a server that has been probed, and what was said of it."""
    artifacts = tmp_path_factory.mktemp("operations") / "artifacts"
    put(artifacts / "models")
    file = graphs.write(PICKED, artifacts / "picked.onnx")
    publish(
        file, name="picked", repository=artifacts / "models", max_batch_size=8, manifest={}, parity=[],
        golden=graphs.golden(file), states=(("sum_in", "sum_out"),),
    )  # fmt: skip
    (artifacts / "promises.yaml").write_text("affine: {rate: 10, error_rate: 0.01, p99_ms: 50}\n")
    # What is typed to look, of the page for the person on call; what changes something is tested where it is made.
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    typed = re.findall(r"^(?:conch (?:status|history|lint|call watch)|curl|python) ?.*$", page, re.MULTILINE)
    assert len(typed) > 15
    own = "curl -s $CONCH_SUPERVISOR_METRICS/metrics"
    twice = f"""[ "$({own} | grep -c '^conch_probe_answers_total.*right"}} [2-9]')" = 2 ]"""
    script = [
        f"for _ in $(seq 60); do if {twice}; then break; fi; sleep 0.5; done",
        f"curl -s $CONCH_METRICS/metrics > triton; {own} > own",
    ]
    for line in dict.fromkeys(line.partition("  #")[0].strip() for line in typed):
        line = line.replace("cnn", "affine").replace("localhost:8002", "$CONCH_METRICS")
        script.append(line.replace("localhost:8003", "$CONCH_SUPERVISOR_METRICS"))
    (artifacts / "typed.sh").write_text(
        "\n".join(["set -eo pipefail", f"PATH={BIN}:$PATH", f"cd {artifacts}", *script])
    )
    command = ("bash", str(artifacts / "typed.sh"))
    code, output, errors = run("up", "--probe", "1s", *FREE_PORTS, "--", *command, artifacts=artifacts, seconds=120)
    assert code == 0, output + errors
    return [*((artifacts / name).read_text() for name in ("triton", "own")), output]


def test_a_running_server_is_probed_over_the_public_path(pages: list[str]) -> None:
    families = text_string_to_metric_families(pages[1])
    samples = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    for model in ("affine", "picked"):
        assert samples["conch_probe_answers_total", model, "right"] >= 2
        assert sum(samples["conch_probe_answers_total", model, outcome] for outcome in ("wrong", "failed")) == 0
        assert samples["conch_served_version", model] == samples["conch_live_version", model] == 1
    assert samples[("conch_server_up",)] == samples[("conch_public_endpoint_up",)] == 1
    assert samples["conch_promise_latency_seconds", "affine"] == 0.05
    assert re.search(r"^model +version +state +probe +runs on *$", pages[2], re.MULTILINE), "conch status"
    assert re.search(r"^picked +1 +ready +right +CPU *$", pages[2], re.MULTILINE)


@pytest.mark.parametrize("place", deployed.queries())
def test_each_query_asks_for_what_the_server_exposes(place: str, pages: list[str]) -> None:
    known = promql.exposed(*pages[:2]) | {"up": frozenset()}
    known |= {rule["record"]: frozenset({"model"}) for rule in deployed.rules() if "record" in rule}
    assert promql.unanswered(deployed.queries()[place], known) == []


def test_a_model_that_answers_wrong_is_loaded_anew_and_right(tmp_path: Path) -> None:
    """What its processes hold is wrong, and what lies in the repository right."""
    models = tmp_path / "artifacts" / "models"
    put(models)
    file, config_file = models / "affine" / "1" / "model.onnx", models / "affine" / "config.pbtxt"
    config = parse(config_file.read_text())
    config.parameters["golden_check"].string_value = "warn"  # else the wrong ones would not have been loaded
    config_file.write_text(render(config))
    right = file.read_bytes()
    model = onnx.load_from_string(right)
    model.graph.node[0].op_type = "Sub"
    file.write_bytes(model.SerializeToString())
    with (
        Server(models, http_port=0, grpc_port=0, metrics_port=0, reloadable=True, options=LOADS_ON_DEMAND) as server,
        Supervisor(server, loads=True) as own,
    ):
        file.write_bytes(right)
        door, health = Door(f"http://{server.http}"), Health()
        monitor = Monitor(models, server.http, door, SupervisorMetrics(), {}, 5.0, True, health, own.unwell)
        for _ in range(3):
            monitor.look()
        assert "is answered wrong" in health.faults["affine"]
        own.look()
        deadline = time.monotonic() + 30
        while own.troubles and time.monotonic() < deadline:
            own.look()
            time.sleep(0.05)
        monitor.look()
        assert health.faults == {}
        door.close()


def test_a_probe_meets_the_dead_process_of_a_model_that_is_ready(tmp_path: Path) -> None:
    put(tmp_path / "artifacts" / "models")
    metrics = SupervisorMetrics()
    with Server(tmp_path / "artifacts" / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        door = Door(f"http://{server.http}")
        monitor = Monitor(server.repository, server.http, door, metrics, {}, interval=5.0, probing=True)
        monitor.look()
        family = psutil.Process(server.pid).children(recursive=True)
        stub = next(process for process in family if "stub" in process.name() and "affine_0_1" in process.cmdline())
        stub.kill()
        outcomes: dict[str, float | None] = {}
        for _ in range(40):
            monitor.look()
            labels = [{"model": "affine", "outcome": outcome} for outcome in ("right", "failed")]
            outcomes = {
                one["outcome"]: metrics.registry.get_sample_value("conch_probe_answers_total", one) for one in labels
            }
            if outcomes["failed"]:
                break
        assert outcomes["failed"] == 1, "its share of requests"
        assert outcomes["right"], "and the other process's"
        assert metrics.registry.get_sample_value("conch_model_ready", {"model": "affine"}) == 1
        door.close()
