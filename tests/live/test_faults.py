"""What clients see of each fault of a supervised server, and for how long. With `-s` it is printed."""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils

from serving.repository.publish import publish
from serving.server import processes
from serving.server.running import Running, running
from serving.server.stubs import INSTANCE_ARGUMENT, STUB
from tests.support import graphs
from tests.support.calls import PROTOCOLS

MODEL = "times"
RIGHT = "right"


def put(repository: Path) -> None:
    """Publish a model of two instances that multiplies by ten."""
    file = graphs.write(
        f"{MODEL} (float[batch, width] x) => (float[batch, width] y) <float f = {{10}}> {{ y = Mul(x, f) }}",
        repository.parent / "times.onnx",
    )
    publish(
        file, name=MODEL, repository=repository, max_batch_size=4, manifest={}, parity=[], golden=graphs.golden(file)
    )


@dataclass
class Served:
    """A server that `conch serve` runs and looks after."""

    artifacts: Path
    process: subprocess.Popen[bytes]
    said: Path

    @property
    def running(self) -> Running:
        found = running(self.artifacts / "server" / "state.json")
        assert found is not None, self.said.read_text()
        return found

    @property
    def triton(self) -> int:
        """The process of tritonserver."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(found[0])

    def stubs(self) -> dict[int, str]:
        """Process of the model -> instance."""
        found = {}
        for pid in processes.members(self.triton):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if Path(words[0]).name == STUB:
                    found[pid] = words[INSTANCE_ARGUMENT]
        return found

    def stub(self) -> int:
        return max(self.stubs())


@contextlib.contextmanager
def served(artifacts: Path, *words: str) -> Iterator[Served]:
    """`conch serve` over these artifacts, with more `words`; afterwards it is asked to end."""
    said = artifacts.parent / "said.txt"
    free = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "conch", "serve", *free, *words], cwd=Path(__file__).parents[2],
            env={**os.environ, "CONCH_ARTIFACTS": str(artifacts), "COLUMNS": "200"}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while running(artifacts / "server" / "state.json") is None:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Served(artifacts, process, said)
    finally:
        process.terminate()
        process.wait(60)


def status(artifacts: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `conch status`."""
    done = subprocess.run(
        [sys.executable, "-m", "conch", "status", "--json"], cwd=Path(__file__).parents[2], capture_output=True,
        env={**os.environ, "CONCH_ARTIFACTS": str(artifacts)}, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or "{}")


@dataclass
class Answer:
    sent: float
    """Seconds since the callers began."""
    took: float
    what: str


class Callers:
    """Clients of both protocols that ask one after the other, each question another, until the block ends."""

    def __init__(self, server: Running, threads: int = 2, rate: float = 25.0) -> None:
        self.answers: list[Answer] = []
        self.began = time.monotonic()
        self._server, self._gap, self._stop = server, 1 / rate, threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(protocol, 10_000 * number))
            for number, protocol in enumerate(PROTOCOLS * threads)
        ]

    def _client(self, protocol: str) -> Any:
        if protocol == "http":
            return tritonclient.http.InferenceServerClient(
                self._server.http, connection_timeout=5.0, network_timeout=5.0
            )
        soon = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        return tritonclient.grpc.InferenceServerClient(self._server.grpc, channel_args=soon)

    def _call(self, protocol: str, number: int) -> None:
        api = tritonclient.http if protocol == "http" else tritonclient.grpc
        how = {} if protocol == "http" else {"client_timeout": 5.0}
        client = self._client(protocol)
        while not self._stop.wait(self._gap):
            number += 1
            asked = np.array([[number, -number]], np.float32)
            tensor = api.InferInput("x", [1, 2], "FP32")
            tensor.set_data_from_numpy(asked)
            sent = time.monotonic()
            try:
                got = client.infer(MODEL, [tensor], **how).as_numpy("y")
                what = RIGHT if np.array_equal(got, asked * 10) else f"WRONG: {got} for {asked}"
            except Exception as error:  # whatever a client sees is what is counted
                what = re.sub(r"ipv4:\S+|0x\S+|\d{4,}", "_", f"{protocol}: {error}")[:110]
            self.answers.append(Answer(sent - self.began, time.monotonic() - sent, what))
        client.close()

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def since(self, begin: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.sent + answer.took >= begin]

    def await_whole(self, begin: float, seconds: float, quiet: float = 2.5) -> float:
        """How long after `begin` the last failure ended, once there was none for `quiet` seconds."""
        while True:
            now = time.monotonic() - self.began
            bad = [answer for answer in self.since(begin) if answer.what != RIGHT]
            last = max((answer.sent + answer.took for answer in bad), default=begin)
            recent = [answer for answer in self.since(now - 1) if answer.what == RIGHT]
            if now - max(last, begin) > quiet and recent:
                return last - begin
            assert now - begin < seconds + quiet, (bad[-5:], now - begin)
            time.sleep(0.1)


def kill_one(server: Served) -> None:
    os.kill(server.stub(), signal.SIGKILL)


def kill_both(server: Served) -> None:
    for pid in server.stubs():
        os.kill(pid, signal.SIGKILL)


def stop_for(seconds: float) -> Callable[[Served], None]:
    """A process of the model stands still, and goes on where it still can."""

    def stop(server: Served) -> None:
        pid = server.stub()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return stop


def kill_triton(server: Served) -> None:
    os.kill(server.triton, signal.SIGKILL)


def segfault_triton(server: Served) -> None:
    os.kill(server.triton, signal.SIGSEGV)


def impatient(server: Served) -> None:
    """Calls with a deadline that ends before there is an answer, and calls that are cancelled."""
    tensor = tritonclient.grpc.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32))

    def call() -> None:
        with tritonclient.grpc.InferenceServerClient(server.running.grpc) as client:
            end = time.monotonic() + 4
            while time.monotonic() < end:
                with contextlib.suppress(Exception):
                    client.infer(MODEL, [tensor], client_timeout=0.002)
                with contextlib.suppress(Exception):
                    client.async_infer(MODEL, [tensor], lambda result, error: None).cancel()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def post(body: bytes) -> Callable[[Served], None]:
    def send(server: Served) -> None:
        host, _, port = server.running.http.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", f"/v2/models/{MODEL}/infer", body, {"Content-Type": "application/json"})
            connection.getresponse().read()
        connection.close()

    return send


def request_of(shape: list[int], data: str = "[1, 2]") -> bytes:
    return f'{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": {shape}, "data": {data}}}]}}'.encode()


@dataclass
class Fault:
    """What happens, and what is allowed to follow."""

    make: Callable[[Served], None]
    seconds: float
    """Within which every answer is right again; several times what a quiet machine needs."""
    failures: str | None
    """What clients may be told; None: nobody sees anything."""
    restarts: int = 0
    said: str = ""
    """What the operator is told."""


ONE_DEAD = r"Stub process 'times_0_\d' is not healthy"
DOWN = (
    r"failed to connect|Connection refused|Connection reset|Socket closed|Broken pipe|connection (was )?closed|"
    r"recvmsg|Deadline Exceeded|timed out|response completion|GOAWAY"
)
FAULTS = {
    "a process of a model is killed": Fault(
        kill_one, 40, ONE_DEAD, said=r"the process of times_0_\d was killed by SIGKILL: the model is loaded anew"
    ),
    "a process of a model stands still for 2 s": Fault(
        stop_for(2), 40, ONE_DEAD, said=r"the process of times_0_\d stood still for \d\.\d s and was killed for that"
    ),
    "tritonserver is killed": Fault(kill_triton, 40, DOWN, 1, "tritonserver was killed by SIGKILL"),
}
MORE_FAULTS = {
    "a process of a model stands still for 0.4 s": Fault(stop_for(0.4), 15, None),
    "both processes of a model are killed": Fault(kill_both, 15, ONE_DEAD, said="is whole again"),
    "tritonserver crashes": Fault(segfault_triton, 20, DOWN, 1, "tritonserver was killed by SIGSEGV"),
    "calls with deadlines of 2 ms, and cancelled ones": Fault(impatient, 30, f"{ONE_DEAD}|{DOWN}", 5),
    "JSON with a shape of 2^60": Fault(post(request_of([1, 2**60])), 20, DOWN, 1),
    "JSON nested 50,000 deep": Fault(post(request_of([1, 2], "[" * 50_000 + "]" * 50_000)), 20, DOWN, 1),
    "a million brackets": Fault(post(b"[" * 1_000_000), 20, DOWN, 1),
}


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    (folder / "models").mkdir(parents=True)
    put(folder / "models")
    return folder


def endured(name: str, fault: Fault, server: Served, callers: Callers) -> None:
    """Make the fault and see that all is well again."""
    restarts, lines = len(server.running.restarts), len(server.said.read_text().splitlines())
    begin = time.monotonic() - callers.began
    fault.make(server)
    lasted = callers.await_whole(begin, fault.seconds)
    seen = Counter(answer.what for answer in callers.since(begin))
    sys.stdout.write(f"{name}: {lasted:.1f} s; {dict(seen)}\n")
    for what in seen:
        assert what == RIGHT or (fault.failures and re.search(fault.failures, what)), (name, what)
    assert len(server.running.restarts) - restarts <= fault.restarts, name
    told = "\n".join(server.said.read_text().splitlines()[lines:])
    assert re.search(fault.said, told), (name, told)
    assert "CudaDriverHelper" not in told


def whole(artifacts: Path) -> dict[str, Any]:
    """What `conch status` says once all is well: a fault may have effects that come late, as calls given up."""
    deadline = time.monotonic() + 15
    while True:
        code, document = status(artifacts)
        if (code, [model["state"] for model in document.get("models", [])]) == (0, ["READY"]):
            return document
        assert time.monotonic() < deadline, document
        time.sleep(0.5)


def endure(faults: dict[str, Fault], artifacts: Path) -> None:
    with served(artifacts) as server:
        with Callers(server.running) as callers:
            time.sleep(1)
            for name, fault in faults.items():
                endured(name, fault, server, callers)
        document = whole(artifacts)
        assert document["restarts"] == server.running.restarts
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(30) == 0, "all is served at the end"
        took = time.monotonic() - began
        sys.stdout.write(f"ended within {took:.1f} s\n")
        assert took < 15, "though requests were given up, and connections are kept open"


def test_what_dies_or_stands_still_is_replaced(artifacts: Path) -> None:
    endure(FAULTS, artifacts)


@pytest.mark.long
@pytest.mark.parametrize("name", MORE_FAULTS)
def test_more_faults(name: str, artifacts: Path) -> None:
    endure({name: MORE_FAULTS[name]}, artifacts)


def await_said(server: Served, words: str, seconds: float = 40.0) -> None:
    """Until the operator is told so."""
    deadline = time.monotonic() + seconds
    while not re.search(words, server.said.read_text()):
        assert time.monotonic() < deadline, server.said.read_text()
        time.sleep(0.1)


@pytest.mark.long
def test_a_truncated_file_keeps_what_is_left_serving_until_it_is_mended(artifacts: Path) -> None:
    file = artifacts / "models" / MODEL / "1" / "model.onnx"
    whole = file.read_bytes()
    with served(artifacts) as server, Callers(server.running) as callers:
        file.write_bytes(whole[:50])
        kill_one(server)
        await_said(server, "cannot be loaded anew: .*times/1/model.onnx")
        code, document = status(artifacts)
        assert (code, document["models"][0]["state"]) == (1, "DEGRADED")
        assert callers.since(time.monotonic() - callers.began - 1)[-1].what == RIGHT
        file.write_bytes(whole)
        await_said(server, "is whole again", 60)
        callers.await_whole(time.monotonic() - callers.began, 20)
        assert status(artifacts)[0] == 0
    assert not [answer.what for answer in callers.answers if answer.what.startswith("WRONG")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 32 MiB, for artifacts and temporary files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", folder], check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.long
def test_a_full_disk_keeps_nobody_from_serving(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(small_disk))
    artifacts = small_disk / "artifacts"
    (artifacts / "models").mkdir(parents=True)
    put(artifacts / "models")
    with served(artifacts) as server, Callers(server.running) as callers:
        with contextlib.suppress(OSError), (small_disk / "full").open("wb", buffering=0) as full:
            while True:
                full.write(b"x" * 4096)
        for name in ("a process of a model is killed", "tritonserver is killed"):
            begin = time.monotonic() - callers.began
            FAULTS[name].make(server)
            lasted = callers.await_whole(begin, 40)
            sys.stdout.write(f"{name}, the disk full: {lasted:.1f} s\n")
        assert status(artifacts)[0] == 0
    assert not [answer.what for answer in callers.answers if answer.what.startswith("WRONG")]


@pytest.mark.long
def test_a_process_at_its_limit_of_memory_is_replaced_and_the_server_where_it_goes_along(artifacts: Path) -> None:
    with served(artifacts) as server, Callers(server.running) as callers:
        for pid in server.stubs():
            size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize() + 50_000_000
            resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
        begin = time.monotonic() - callers.began
        tensor = tritonclient.grpc.InferInput("x", [1, 40_000_000], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 40_000_000), np.float32))
        with (
            tritonclient.grpc.InferenceServerClient(server.running.grpc) as client,
            pytest.raises(tritonclient.utils.InferenceServerException) as refused,
        ):
            client.infer(MODEL, [tensor], client_timeout=60)
        lasted = callers.await_whole(begin, 40)
        sys.stdout.write(f"too large: {refused.value}; others: {lasted:.1f} s\n")
        assert len(server.running.restarts) <= 1
        for answer in callers.since(begin):
            assert answer.what == RIGHT or re.search(f"{ONE_DEAD}|{DOWN}", answer.what), answer
        whole(artifacts)
