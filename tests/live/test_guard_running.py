"""The guard of a real Triton as a process: begun by a command, started again when it ends, and told of in health."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

from clients import ClientError, connect
from serving.monitoring.health import Health
from serving.monitoring.metrics import SupervisorMetrics
from serving.monitoring.monitor import Monitor
from serving.monitoring.page import public_door
from serving.repository.foreign import publish_file
from serving.server.events import Event, listening
from serving.server.server import Server
from tests.support import graphs
from tests.support.authority import Authority
from tests.support.guarded import TOKEN, ask, code, family, guarded, infer, right, stopped, until_health, with_tls
from tests.support.nginx import INSTALL, PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=INSTALL)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one model."""
    folder = tmp_path_factory.mktemp("guarded")
    publish_file(graphs.write(graphs.AFFINE, folder / "affine.onnx"), "affine", folder / "models")
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has(events: list[Event], count: int) -> bool:
    return len(events) == count


def answers(url: str) -> bool:
    try:
        with connect(url, timeout=2.0) as client:
            return right([infer(client)])
    except ClientError:
        return False


def test_what_ends_is_started_again(triton: Server, tmp_path: Path) -> None:
    events: list[Event] = []
    parts = ["nginx", "filter 0", "filter of large requests"]
    with listening(events.append), guarded(triton, tmp_path) as guard:
        for number, part in enumerate(parts, 1):
            os.kill(guard.pids[part], signal.SIGKILL)
            until(partial(has, events, number))
            for protocol in ("http", "grpc"):
                until(partial(answers, guard.addresses[protocol]))
        pids = list(guard.pids.values())
    assert [event.fields["part"] for event in events] == parts
    assert "killed by SIGKILL" in events[0].message
    assert not any(psutil.pid_exists(pid) for pid in pids)


def conch(artifacts: Path, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"CONCH_ARTIFACTS": str(artifacts), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "conch", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False, **more)


INSIDE = """
import json, os, subprocess, sys
import psutil
from clients import connect
from tests.support.guarded import ask, stopped, until_health
state = json.load(open(os.environ["CONCH_SERVER"]))
url = state["guard"]["grpc"].replace("127.0.0.1", "localhost")
with connect(url, ca=sys.argv[1], token=sys.argv[2]) as client:
    print([model.name for model in client.models()])
page = "http://" + os.environ["CONCH_SUPERVISOR_METRICS"]
until_health(page, 200)
nginx = [child for child in psutil.Process(os.getppid()).children(recursive=True) if child.name() == "nginx"]
with stopped(nginx):
    for what, fault in until_health(page, 503).items():
        print(f"{what}: {fault}")
    print(ask(page, "/metrics")[1])
until_health(page, 200)
subprocess.run([sys.executable, "-m", "conch", "rollout", "affine", "--why", "tried"], check=True)
"""


def test_the_command(authority: Authority, tmp_path: Path) -> None:
    """It is on where the host is not loopback; what runs on this machine goes past it, but for probes, and what does
    not, through."""
    publish_file(graphs.write(graphs.AFFINE, tmp_path / "affine.onnx"), "affine", tmp_path / "models")
    access = with_tls(authority, authority.good)
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    ended = conch(
        tmp_path, "serve", "--host", "0.0.0.0", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0",
        "--certificate", str(access.certificate), "--key", str(access.key), "--token-file", str(tmp_path / "tokens"),
        "--probe", "1s", "--", sys.executable, "-c", INSIDE, str(authority.ca), TOKEN,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "['affine']" in ended.stdout
    assert "guard: it does not answer at the address that clients are given\n" in ended.stdout
    assert "\naffine: a golden request is not answered: " in ended.stdout
    for line in (
        "conch_server_up 1.0", "conch_public_endpoint_up 0.0", 'conch_model_ready{model="affine"} 1.0',
        'conch_probe_state{conch_probe_state="failed",model="affine"} 1.0',
    ):  # fmt: skip
        assert line in ended.stdout
    assert re.search(r'^conch_probe_answers_total\{model="affine",outcome="right"\} [1-9]', ended.stdout, re.MULTILINE)
    assert "unguarded" in ended.stderr
    assert "warning" not in ended.stderr


def test_where_it_asks_for_a_certificate_probes_go_past_it_but_it_is_seen_whether_it_answers(
    triton: Server, authority: Authority, tmp_path: Path
) -> None:
    access, metrics, health, asked = with_tls(authority, authority.mutual), SupervisorMetrics(), Health(), list[str]()
    with guarded(triton, tmp_path, access) as guard:
        door = public_door(triton.http, guard.addresses, access)
        unwell = lambda model, _: asked.append(model)  # noqa: E731
        monitor = Monitor(triton.repository, triton.http, door, metrics, {}, 1.0, True, health, unwell)
        monitor.look()
        assert health.faults == {}
        with stopped(family(guard.pids["nginx"])):
            monitor.look()
            assert health.faults == {"guard": "it does not answer at the address that clients are given"}
            assert metrics.registry.get_sample_value("conch_public_endpoint_up") == 0
        monitor.look()
        assert health.faults == {}
        door.close()
    right = {"model": "affine", "outcome": "right"}
    assert metrics.registry.get_sample_value("conch_probe_answers_total", right) == 3
    assert not asked


@pytest.mark.parametrize("golden", ["right", "wrong"])
def test_beside_a_server_of_somebody_else_it_tells_how_golden_requests_are_answered(
    golden: str, triton: Server, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    shutil.copytree(triton.repository / "affine", repository / "affine")
    if golden == "wrong":
        file = repository / "affine" / "1" / "golden.npz"
        arrays = dict(np.load(file))
        np.savez(file, **{name: array + ("outputs" in name) for name, array in arrays.items()})
    command = ["guard", "--repository", str(repository), "--probe", "1s", "--log-format", "json", "--triton-http"]
    command += [triton.http, "--triton-grpc", triton.grpc, "--triton-metrics", triton.metrics]
    ports = [word for name in ("http", "grpc", "metrics", "page") for word in (f"--{name}-port", "0")]
    up = subprocess.Popen(
        [sys.executable, "-m", "conch", *command, *ports], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CONCH_ARTIFACTS": str(tmp_path)},
    )  # fmt: skip
    assert up.stderr is not None
    try:
        ready = json.loads(up.stderr.readline())
        assert ready["event"] == "guard_ready"
        page, addresses = f"http://{ready['fields']['page']}", ready["fields"]["guard"]
        with connect(addresses["grpc"]) as client:
            assert right([infer(client)])
        faults = until_health(page, {"right": 200, "wrong": 503}[golden])
        assert [*faults] == ([] if golden == "right" else ["affine"])
        assert f'conch_probe_state{{conch_probe_state="{golden}",model="affine"}} 1.0' in ask(page, "/metrics")[1]
        up.terminate()
        assert up.wait(30) == 0
    finally:
        up.kill()
        up.wait()


ALONE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from serving.guard.access import Access
from serving.guard.guard import Guard
from serving.guard.limits import Limits

nobody = SimpleNamespace(http="127.0.0.1:9", grpc="127.0.0.1:9", metrics="127.0.0.1:9")
ports = {"HTTP": 0, "gRPC": 0, "metrics": 0}
with Guard(nobody, "127.0.0.1", ports, Limits(), Access(), log_file=Path(sys.argv[1])) as guard:
    print(guard.addresses["http"], guard.addresses["grpc"], flush=True)
    time.sleep(60)
"""


def test_without_a_server_it_says_so_and_it_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(tmp_path / "guard.log")]
    up = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    try:
        http, grpcs = up.stdout.readline().split()
        assert ask(http, "/v2/health/ready") == (502, '{"error":"the server is not up"}')
        with grpc.insecure_channel(grpcs.removeprefix("grpc://")) as channel:
            assert code(channel, "ServerReady", "") == 14
        children = psutil.Process(up.pid).children(recursive=True)
        assert Counter(child.name() for child in children)["nginx"] == 2
    finally:
        up.kill()
        up.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
