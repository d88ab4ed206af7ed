"""A load never ends without its evidence: whatever is refused, dies, is stopped or cannot be drawn."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.loads import ended, golden_of, result, start

NOTHING = {"rate": 40, "error_rate": 1}  # a promise that a server keeps which does nothing
LENGTHS = "lengths"  # answers
PICK = "pick"  # refuses every golden input
BROKEN_DRAWING = """
import sys
import loadtest.__main__ as program
import loadtest.outcome as outcome
def fail(*_):
    raise RuntimeError("no pictures today")
outcome.render_page = outcome.write_tables = fail
sys.exit(program.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts with two models; in `asked` golden inputs that one of them refuses."""
    folder = tmp_path_factory.mktemp("evidence")
    for name, graph in {LENGTHS: graphs.LENGTHS, PICK: graphs.PICK}.items():
        publish_file(graphs.write(graph, folder / f"{name}.onnx"), name, folder / "models")
    shutil.copytree(folder / "models", folder / "asked" / "models")
    golden = folder / "asked" / "models" / PICK / "1" / "golden.npz"
    with np.load(golden) as file:
        arrays = dict(file)
    np.savez(golden, **arrays | {"inputs/index": np.full_like(arrays["inputs/index"], 99)})
    (folder / "promises.yaml").write_text(json.dumps({LENGTHS: NOTHING, PICK: NOTHING}))
    return folder


@pytest.fixture(scope="module")
def server(published: Path) -> Iterator[Server]:
    with Server(published / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture
def own(published: Path, tmp_path: Path) -> Path:
    """An artifacts folder of the test's own."""
    shutil.copy(published / "promises.yaml", tmp_path)
    return golden_of(published / "asked", tmp_path, LENGTHS, PICK)


def run(server: Server, own: Path, *words: str, module: str = "loadtest") -> subprocess.Popen[str]:
    return start(server, own, *words, "--promises", str(own / "promises.yaml"), module=module)


def answered(server: Server, model: str) -> int:
    with urllib.request.urlopen(f"http://{server.http}/v2/models/{model}/stats", timeout=10) as answer:
        return int(json.load(answer)["model_stats"][0]["inference_count"])


def under_way(server: Server, process: subprocess.Popen[str], requests: int = 100) -> None:
    """Wait until so many further requests to `LENGTHS` were answered, which is after the warm-up of a second."""
    enough = answered(server, LENGTHS) + requests
    while answered(server, LENGTHS) < enough:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def failed(content: dict[str, Any]) -> list[str]:
    return [check["name"] for check in content["checks"] if not check["ok"]]


def test_nothing_answered_and_nothing_promised_is_invalid(server: Server, own: Path) -> None:
    folder = own / "report" / "load" / PICK
    words = ("run", PICK, "--protocol", "both", "--duration", "2s", "--warmup", "0s")
    code, text, content = result(run(server, own, *words), folder)
    assert (code, content["verdict"]) == (2, "INVALID"), text
    assert "answered" in failed(content)
    assert f"INVALID {PICK}: none of {content['requests']} requests was answered" in text
    assert content["requests"] == content["failures"] > 40
    assert "<svg" in (folder / "index.html").read_text()
    assert "Traceback" not in text
    plain = (
        "-f",
        "tests/load/locustfile.py",
        "--model",
        PICK,
        "--headless",
        "-t",
        "2s",
        "--rate",
        "40",
        "--warmup",
        "0",
    )
    code, text, content = result(run(server, own, *plain, "--results", str(own / "out"), module="locust"), own / "out")
    assert (code, content["verdict"]) == (2, "INVALID"), text
    assert (own / "out" / "index.html").is_file(), text


def test_a_profile_of_nothing_is_written_and_drawn(server: Server, own: Path) -> None:
    flags = ("--start", "20", "--most", "30", "--duration", "1s", "--warmup", "0s")
    code, text = ended(run(server, own, "profile", PICK, *flags))
    assert code == 0, text
    (point,) = json.loads((own / "report" / "load-profile" / f"{PICK}.json").read_text())["points"]
    assert point["requests"] == point["failures"] > 0
    assert "<svg" in (own / "report" / "load-profile" / f"{PICK}.svg").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_what_it_measured(server: Server, own: Path, number: int) -> None:
    process = run(server, own, "run", "all", "--duration", "60s", "--warmup", "1s")
    under_way(server, process)
    process.send_signal(number)
    code, text, content = result(process, own / "report" / "load" / LENGTHS)
    assert code == 128 + number, text
    assert content["verdict"] == "INVALID"
    assert failed(content)[-1] == "stopped"
    assert 1 < content["duration_s"] < 20
    assert content["requests"] > 20
    assert content["failures"] == 0, text
    assert f"ended by {signal.Signals(number).name} after" in text
    assert not (own / "report" / "load" / PICK).exists(), "the next one is not begun"


def test_searches_that_are_stopped_leave_what_they_found(server: Server, own: Path) -> None:
    kinds = {
        "load-profile": ("profile", LENGTHS, "--start", "40", "--duration", "1s", "--warmup", "0s"),
        "load-capacity": ("capacity", LENGTHS, "--start", "40", "--duration", "60s"),
        "load-soak": ("soak", LENGTHS, "--duration", "60s"),
    }
    found = {}
    for name, words in kinds.items():
        process = run(server, own, *words)
        under_way(server, process)
        process.send_signal(signal.SIGINT)
        code, text = ended(process)
        assert code == 130, text
        assert "Traceback" not in text
        found[name] = json.loads((own / "report" / name / f"{LENGTHS}.json").read_text())
    assert found["load-profile"]["points"]
    assert found["load-capacity"]["steps"] == [{"rate": 40, "finding": "stopped"}]
    assert found["load-soak"]["requests"] > 0


def test_a_scenario_that_is_stopped_leaves_what_it_measured(server: Server, own: Path) -> None:
    scenario = {"duration": "60s", "rate": 50, "models": {LENGTHS: {"weight": 1}, PICK: {"weight": 1}}}
    (own / "two.yaml").write_text(json.dumps(scenario))
    process = run(server, own, "mix", str(own / "two.yaml"))
    under_way(server, process)
    process.send_signal(signal.SIGHUP)
    code, text, content = result(process, own / "report" / "load-mix" / "two")
    assert (code, content["verdict"]) == (129, "INVALID"), text
    assert "ended by SIGHUP after" in text
    assert f"{PICK}: none of " in text


def test_what_cannot_be_drawn_does_not_take_the_numbers_with_it(server: Server, own: Path) -> None:
    words = ["run", LENGTHS, "--duration", "2s", "--warmup", "0s", "--promises", str(own / "promises.yaml")]
    environment = os.environ | {"CONCH_ARTIFACTS": str(own), "CONCH_HTTP": server.http, "CONCH_METRICS": server.metrics}
    process = subprocess.Popen(
        [sys.executable, "-c", BROKEN_DRAWING, *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    folder = own / "report" / "load" / LENGTHS
    code, text, content = result(process, folder)
    assert code == {"KEPT": 0, "INVALID": 2}[content["verdict"]], text
    assert "index.html cannot be made (RuntimeError: no pictures today)" in text
    assert "locust_*.csv cannot be made" in text
    assert sorted(path.name for path in folder.iterdir()) == ["locust.html", "run.json"]


def test_results_that_cannot_be_written_are_put_elsewhere(server: Server, own: Path, tmp_path: Path) -> None:
    process = run(server, own, "run", LENGTHS, "--duration", "5s", "--warmup", "0s")
    under_way(server, process)
    (own / "report" / "load").rmdir()
    (own / "report" / "load").touch()
    code, text = ended(process)
    assert code == 3, text
    elsewhere = Path(text.rsplit("run.json is in ", 1)[1].strip())
    assert json.loads((elsewhere / "run.json").read_text())["requests"] > 100
    shutil.rmtree(elsewhere)


def test_a_server_that_dies_leaves_the_runs_of_all_models(published: Path, own: Path) -> None:
    with Server(published / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        process = run(server, own, "run", "all", "--duration", "8s", "--warmup", "0s")
        under_way(server, process)
        os.killpg(server.pid, signal.SIGKILL)
        code, text, content = result(process, own / "report" / "load" / LENGTHS)
    assert 0 < content["failures"] < content["requests"], text
    other = json.loads((own / "report" / "load" / PICK / "run.json").read_text())
    assert other["requests"] == other["failures"] > 0
    assert code == 2, text
    assert "Traceback" not in text


def test_who_promises_nothing_is_told_the_flag(server: Server, own: Path) -> None:
    (own / "promises.yaml").write_text(json.dumps({"another": NOTHING}))
    for words in (["run", LENGTHS], ["run", "all"]):
        code, text = ended(run(server, own, *words))
        assert code == 3
        assert "--promises FILE" in text
        assert text.count("\n") == 1


def test_a_wrong_promise_of_one_model_does_not_stop_the_others(server: Server, own: Path) -> None:
    (own / "promises.yaml").write_text(json.dumps({LENGTHS: {"rate": "fast"}, PICK: NOTHING}))
    words = ("run", "all", "--duration", "2s", "--warmup", "0s")
    code, text, content = result(run(server, own, *words), own / "report" / "load" / PICK)
    assert content["requests"] > 0
    assert f"promises.yaml: {LENGTHS}: 'error_rate' is missing" in text
    assert f"{content['verdict']}: {own / 'report' / 'load' / PICK / 'index.html'}" in text
    assert code == {"KEPT": 3, "BROKEN": 1, "INVALID": 2}[content["verdict"]], text
    assert not (own / "report" / "load" / LENGTHS).exists()


def test_a_kept_run_is_not_made_again_until_something_changes(server: Server, own: Path) -> None:
    promises, file = own / "promises.yaml", own / "report" / "load" / LENGTHS / "run.json"
    words = ("run", LENGTHS, "--duration", "1s", "--warmup", "1s", "--if-changed")

    def made_anew(*more: str, verdict: str = "KEPT") -> bool:
        before = answered(server, LENGTHS)
        code, text, found = result(run(server, own, *words, *more), file.parent)
        anew = answered(server, LENGTHS) > before
        assert ("lengths: up to date" in text) is not anew
        assert code == 0 or anew, text
        file.write_text(json.dumps(found | {"verdict": verdict}))  # whether this machine is quiet is not the question
        return anew

    assert [made_anew() for _ in range(2)] == [True, False]
    promises.write_text(json.dumps({LENGTHS: NOTHING | {"p99_ms": 60_000}}))
    assert made_anew()
    golden = own / "models" / LENGTHS
    shutil.copytree(golden.resolve(), own / "copy")
    golden.unlink()
    (own / "copy").rename(golden)
    with np.load(golden / "1" / "golden.npz") as answers:
        np.savez(golden / "1" / "golden.npz", **{name: array[:-1] for name, array in answers.items()})
    assert made_anew(verdict="INVALID")
    assert made_anew("--seed", "1", verdict="BROKEN")
    assert made_anew("--seed", "1")
