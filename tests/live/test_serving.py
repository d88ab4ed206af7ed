"""The commands of `conch` against a real Triton, from start to the last process gone."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from clients import connect
from serving.repository.publish import publish
from serving.server import ports, processes
from serving.server.server import LOOPBACK, Server
from tests.support import graphs
from tests.support.calls import PROTOCOLS, infer

FREE_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An artifacts folder whose repository has one model, so that a start is quick."""
    put(tmp_path / "artifacts" / "models")
    return tmp_path / "artifacts"


def put(repository: Path, onnx_text: str = graphs.AFFINE) -> Path:
    """Publish a model under the name `affine`."""
    onnx_file = graphs.write(onnx_text, repository.parent.parent / "affine.onnx")
    return publish(
        onnx_file,
        name="affine",
        repository=repository,
        max_batch_size=8,
        manifest={},
        parity=[],
        golden=graphs.golden(onnx_file),
    )


def command(*arguments: str, artifacts: Path) -> subprocess.Popen[str]:
    """Start `conch ...` in a session of its own, as a terminal would in a process group."""
    environment = {**os.environ, "CONCH_ARTIFACTS": str(artifacts), "TMPDIR": str(artifacts.parent), "COLUMNS": "200"}
    environment.pop("CONCH_HTTP", None)
    return subprocess.Popen(
        [sys.executable, "-m", "serving", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(*arguments: str, artifacts: Path, seconds: float = 60) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `conch ...`."""
    process = command(*arguments, artifacts=artifacts)
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


def one_line(errors: str) -> str:
    """The text of standard error, which has to be a single line without a traceback."""
    assert len(errors.splitlines()) == 1, errors
    return errors.strip()


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; an ended one that waits for init to collect it does not."""
    return [p for p in psutil.wait_procs(family, timeout=0)[1] if p.status() != psutil.STATUS_ZOMBIE]


class Family:
    """What `conch serve` started: processes and shared memory, looked at while they are there."""

    def __init__(self, up: subprocess.Popen[str]) -> None:
        self.processes = psutil.Process(up.pid).children(recursive=True)
        self.memory = processes.shared_memory(process.pid for process in self.processes)
        names = [process.name() for process in self.processes]
        assert "tritonserver" in names
        assert "triton_python_backend_stub" in names
        assert self.memory

    def assert_gone(self) -> None:
        """Fail when a process or a file in shared memory is left."""
        assert not alive(self.processes)
        assert not [file for file in self.memory if file.exists()]


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    """Until `file` is there; fail when the process ends before."""
    deadline = time.monotonic() + 60
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_up_serves_while_a_command_runs_and_ends_with_its_exit_code(small: Path, tmp_path: Path) -> None:
    script = "$1 -m serving status && env | grep ^CONCH_ && { sleep 99 & } && touch $0/ready && sleep 0.5 && exit 7"
    arguments = ("sh", "-c", script, str(tmp_path), sys.executable)
    process = command("up", *FREE_PORTS, "--", *arguments, artifacts=small)
    wait_for(tmp_path / "ready", process)
    family = Family(process)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 7
    family.assert_gone()
    addresses = dict(line.split("=", 1) for line in output.splitlines() if line.startswith("CONCH_"))
    assert re.fullmatch(r"127\.0\.0\.1:\d+", addresses["CONCH_HTTP"])
    assert len({addresses[f"CONCH_{name}"] for name in ("HTTP", "GRPC", "METRICS")}) == 3
    assert f"triton 2.51.0 at http://{addresses['CONCH_HTTP']}\n" in output, "the command's status found the server"
    for shown in ("affine", "ready", f"http://{addresses['CONCH_HTTP']}\n", f"grpc://{addresses['CONCH_GRPC']}\n"):
        assert shown in errors, "the table is beside the command's output, not in it"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_and_leaves_nothing(small: Path, tmp_path: Path, number: signal.Signals) -> None:
    script = "trap 'exit 5' INT TERM; sleep 99 & touch $0/ready; wait"
    process = command("up", *FREE_PORTS, "--", "sh", "-c", script, str(tmp_path), artifacts=small)
    wait_for(tmp_path / "ready", process)
    family = Family(process)
    os.killpg(process.pid, number)  # as Ctrl-C in a terminal: to the whole group of `up`
    process.communicate(timeout=60)
    assert process.returncode == 5
    family.assert_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_on_a_signal(small: Path, number: signal.Signals) -> None:
    process = command("up", *FREE_PORTS, artifacts=small)
    wait_for(small / "server" / "state.json", process)
    family = Family(process)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "affine" in output
    family.assert_gone()
    assert not (small / "server" / "state.json").exists()
    assert "successfully loaded 'affine'" in (small / "server" / "triton.log").read_text()


def test_status_and_down_find_the_server_that_up_started(small: Path) -> None:
    process = command("up", *FREE_PORTS, artifacts=small)
    wait_for(small / "server" / "state.json", process)
    family = Family(process)
    code, output, _ = run("status", artifacts=small)
    assert code == 0
    assert "affine" in output
    http, grpc = re.findall(r"(?:HTTP|gRPC) +(\S+)", output)
    for address in (http, grpc, http.removeprefix("http://")):
        with connect(address) as client:
            assert client.ready(), "it is reached by what is printed, word for word"
    for url in (http, http.replace("127.0.0.1", "localhost")):
        code, output, _ = run("status", "--url", url, artifacts=small)
        assert (code, re.findall(r"(?:HTTP|gRPC) +(\S+)", output)) == (0, [http, grpc])
    assert "is a grpc address" in one_line(run("status", "--url", grpc, artifacts=small)[2])
    code, _, errors = run("up", artifacts=small)
    assert code == 1
    assert "a server is up already at http://127.0.0.1:" in one_line(errors)
    code, output, errors = run("down", artifacts=small)
    assert (code, errors) == (0, "")
    assert "Stopped the server at http://127.0.0.1:" in output
    family.assert_gone()
    assert process.wait(5) == 0


def test_ctrl_c_while_the_models_load_leaves_nothing(small: Path) -> None:
    process = command("up", *FREE_PORTS, artifacts=small)
    while "triton_python_backend_stub" not in [child.name() for child in psutil.Process(process.pid).children(True)]:
        assert process.poll() is None
        time.sleep(0.01)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in output + errors
    assert not alive(started)


def test_the_server_dies_with_an_up_that_is_killed(small: Path) -> None:
    process = command("up", *FREE_PORTS, artifacts=small)
    wait_for(small / "server" / "state.json", process)
    family = Family(process)
    process.kill()
    process.communicate()
    psutil.wait_procs(family.processes, timeout=30)
    family.assert_gone()
    code, _, errors = run("down", artifacts=small)
    assert code == 1
    assert "no server started by `conch serve`" in one_line(errors)


def test_a_server_that_dies_ends_the_command(small: Path) -> None:
    # From inside the command: kill the tritonserver that is its sibling.
    script = "import os, psutil; [p.kill() for p in psutil.Process(os.getppid()).children() if 'triton' in p.name()]"
    started = time.monotonic()
    arguments = ("up", *FREE_PORTS, "--", sys.executable, "-c", f"{script}; import time; time.sleep(60)")
    code, _, errors = run(*arguments, artifacts=small)
    assert code == 1
    assert "error: tritonserver was killed by SIGKILL" in errors.splitlines()[-1]
    assert time.monotonic() - started < 30


def test_a_model_that_fails_to_load_is_named_with_its_reason(small: Path) -> None:
    (small / "models" / "affine" / "1" / "model.onnx").write_bytes(b"damaged")
    code, _, errors = run("up", *FREE_PORTS, artifacts=small)
    assert code == 1
    assert re.search(
        r"error: model 'affine' version 1 failed to load: .*model.onnx: is no readable ONNX file", one_line(errors)
    )


def test_what_cannot_be_started_is_one_clear_line(small: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        code, _, errors = run("up", "--http-port", port, artifacts=small)
        assert code == 1
        assert f"port {port} on 127.0.0.1 for HTTP cannot be used (Address already in use)" in one_line(errors)
    empty = tmp_path / "empty"
    code, _, errors = run("up", artifacts=empty)
    assert code == 1
    assert "models does not exist: publish a model with `conch export MODEL`" in one_line(errors)
    assert not empty.exists()
    (empty / "models").mkdir(parents=True)
    code, _, errors = run("up", artifacts=empty)
    assert code == 1
    assert "models is empty: publish a model with `conch export MODEL`" in one_line(errors)
    code, _, errors = run("up", "--server", "/nothing", artifacts=small)
    assert code == 1
    assert "--server /nothing is no program" in one_line(errors)
    code, _, errors = run("up", *FREE_PORTS, "--timeout", "0.05", artifacts=small)
    assert code == 1
    assert "the server was not ready after 0.05 s" in one_line(errors)
    (small / "server").rename(small / "moved")
    (small / "server").write_text("a file where a folder has to be")
    code, _, errors = run("up", *FREE_PORTS, artifacts=small)
    assert code == 1
    assert f"cannot write {small / 'server' / 'state.json'}: File exists" in one_line(errors)
    code, _, errors = run("up", *FREE_PORTS, "--", "true", artifacts=small)
    assert code == 1
    assert "cannot write the server's log" in one_line(errors)


def test_an_unknown_command_is_one_clear_line(small: Path) -> None:
    code, _, errors = run("up", *FREE_PORTS, "--", "no-such-command", artifacts=small)
    assert code == 1
    assert "error: cannot run 'no-such-command': No such file or directory" in errors.splitlines()[-1]


def test_status_without_a_server_is_one_clear_line(tmp_path: Path) -> None:
    code, _, errors = run("status", "--url", "127.0.0.1:9", artifacts=tmp_path)
    assert code == 1
    assert "no server at http://127.0.0.1:9 (Connection refused): start one with `conch serve`" in one_line(errors)
    code, _, errors = run("status", "--url", "nonsense", artifacts=tmp_path)
    assert code == 1
    assert "nonsense: expected host:port" in one_line(errors)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_version_before_is_served_too(triton: Server, protocol: str) -> None:
    x = {"x": np.ones((1, 4), np.float32)}
    for version in ("1", "2", ""):
        assert infer(triton, protocol, "two_versions", x, version=version).keys() == {"y"}


def test_a_version_with_other_tensors_is_served_alone(small: Path) -> None:
    put(small / "models", graphs.DROPPING)
    with Server(small / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        assert [(state.name, state.version) for state in server.states()] == [("affine", "2")]


def test_a_picked_port_that_is_taken_meanwhile_is_picked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was free is released before Triton binds it; here somebody else is quicker, once."""
    put(tmp_path / "artifacts" / "models")
    reserve = ports.reserve
    given: list[dict[str, int]] = []
    with socket.create_server((LOOPBACK, 0)) as other:

        def taken_at_first(host: str, wanted: dict[str, int]) -> dict[str, int]:
            found = reserve(host, wanted)
            given.append(found | ({} if given else {"HTTP": other.getsockname()[1]}))
            return given[-1]

        monkeypatch.setattr(ports, "reserve", taken_at_first)
        with Server(tmp_path / "artifacts" / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
            assert all(state.ready for state in server.states())
            assert server.http == f"{LOOPBACK}:{given[1]['HTTP']}"
    assert len(given) == 2
