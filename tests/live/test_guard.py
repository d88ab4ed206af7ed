"""A real Triton behind its guard: who and what is let in, and that nothing that is sent to it brings either down."""

import asyncio
import json
import multiprocessing
import os
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
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clients import ClientError, Overloaded, Refused, WrongCertificate, connect
from clients.__main__ import main as call
from serving.guard.access import Access
from serving.guard.guard import Guard
from serving.guard.limits import MIB
from serving.repository.foreign import publish_file
from serving.repository.publish import publish
from serving.server.events import Event, listening
from serving.server.server import Server
from tests.support import graphs
from tests.support.authority import Authority
from tests.support.client_kinds import KINDS, called
from tests.support.guarded import by_name, guarded, with_tls
from tests.support.hostile import over_grpc, over_http
from tests.support.hostile.attack import Attack, send_all
from tests.support.hostile.healthy import Honest, X
from tests.support.hostile.kinds import mixed
from tests.support.hostile.models import publish_all
from tests.support.nginx import INSTALL, PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=INSTALL)

ROOT = Path(__file__).parents[2]
TOKEN, CONTROL = "of-the-tests-alone-1", "of-the-tests-alone-2"
SEED = 20261127
# The sum of what a sequence was given.
ADDED = "added (int64[batch, n] x) => (int64[batch, 1] total) <int64[1] axis = {1}> { total = ReduceSum(x, axis) }"
SUMS = """
sums (float[batch, 1] x, float[batch, 1] sum_in) => (float[batch, 1] total, float[batch, 1] sum_out)
{ sum_out = Add(sum_in, x)
  total = Identity(sum_out) }
"""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of what is attacked, of a model with states, and of one that takes much."""
    folder = tmp_path_factory.mktemp("guard")
    publish_all(folder)
    publish_file(graphs.write(ADDED, folder / "added.onnx"), "added", folder / "models")
    file = graphs.write(SUMS, folder / "sums.onnx")
    publish(
        file, name="sums", repository=folder / "models", max_batch_size=8, manifest={}, parity=[],
        golden=graphs.golden(file), states=(("sum_in", "sum_out"),),
    )  # fmt: skip
    options = ("--model-control-mode=explicit", "--load-model=*")
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0, options=options) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def ask(url: str, path: str, body: bytes | None = None, token: str = "", **headers: str) -> tuple[int, str]:
    """The status of a request over HTTP, and what was answered."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with urlopen(Request(url + path, body, headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def infer(client: Any) -> Any:
    return client.infer("affine", {"x": X})


def right(answers: list[dict[str, np.ndarray]]) -> bool:
    return all(np.array_equal(answer["doubled"], 2 * X) for answer in answers)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
class TestClients:
    @pytest.mark.parametrize("kind", KINDS)
    def test_with_a_token_over_tls(
        self, kind: str, protocol: str, triton: Server, authority: Authority, tmp_path: Path
    ) -> None:
        with guarded(triton, tmp_path, with_tls(authority, authority.good, tokens=(TOKEN,))) as guard:
            url = guard.addresses[protocol].replace("127.0.0.1", "localhost")
            assert right(called(kind, url, infer, infer, ca=authority.ca, token=TOKEN))
            for token in (None, TOKEN.upper(), TOKEN + "x", TOKEN[:-1]):
                with pytest.raises(Refused, match=r"does not let this client in.*(asks for a token|401)"):
                    called(kind, url, infer, ca=authority.ca, token=token)

    def test_with_a_certificate(self, protocol: str, triton: Server, authority: Authority, tmp_path: Path) -> None:
        with guarded(triton, tmp_path, with_tls(authority, authority.mutual)) as guard:
            url = guard.addresses[protocol].replace("127.0.0.1", "localhost")
            assert right(called("blocking", url, infer, ca=authority.ca, **authority.of_caller("guarded")))
            with pytest.raises(WrongCertificate, match="wants a client's certificate"):
                called("blocking", url, infer, ca=authority.ca)

    def test_sequences_and_large_requests(self, protocol: str, triton: Server, tmp_path: Path) -> None:
        rows = np.ones((1, 8 * 10**6), np.int64)
        with guarded(triton, tmp_path, body=66 * MIB) as guard, connect(guard.addresses[protocol]) as client:
            with client.sequence("sums") as sequence:
                totals = [float(sequence.infer({"x": np.array([[n]], np.float32)})["total"].item()) for n in range(40)]
            assert totals == [float(sum(range(n + 1))) for n in range(40)]
            assert client.infer("added", {"x": rows})["total"].item() == rows.size  # 64 MB
            with pytest.raises(ClientError, match=f"more than {66 * MIB} bytes|larger than max"):
                client.infer("added", {"x": np.ones((1, 10**7), np.int64)})

    def test_too_many_requests(self, protocol: str, triton: Server, tmp_path: Path) -> None:
        with (
            guarded(triton, tmp_path, rate=1) as guard,
            pytest.raises(Overloaded, match="too many requests"),
        ):
            called("blocking", guard.addresses[protocol], *[infer] * 10, timeout=5.0)


def test_watch_is_let_in_everywhere_by_its_flags(
    triton: Server, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with guarded(triton, tmp_path, with_tls(authority, authority.good, tokens=(TOKEN,))) as guard:
        urls = by_name(guard)
        for protocol in ("http", "grpc"):
            words = ["watch", "--interval", "50ms", "--count", "1", "--json", "--url", urls[protocol]]
            words += ["--ca", str(authority.ca), "--token-file", str(tmp_path / "token"), "--metrics", urls["metrics"]]
            assert call(words) == 0
            (interval,) = map(json.loads, capsys.readouterr().out.splitlines())
            waiting = {model["name"]: model["pending"] for model in interval["models"]}
            assert waiting["affine"] == 0


PATHS = {
    # Without a token, with one, with one for control.
    ("GET", "/v2/health/ready"): (200, 200, 200),
    ("GET", "/v2"): (401, 200, 200),
    ("GET", "/v2/models/affine/config"): (401, 200, 200),
    ("GET", "/v2/models/affine/versions/1/ready"): (401, 200, 200),
    ("GET", "/v2/models/stats"): (401, 200, 200),
    ("POST", "/v2/repository/index"): (401, 200, 200),
    ("GET", "/v2/logging"): (401, 403, 200),
    ("POST", "/v2/repository/models/affine/load"): (401, 403, 200),
    ("GET", "/v2/systemsharedmemory/status"): (404, 404, 404),
    ("POST", "/v2/models/affine/trace/setting"): (404, 404, 404),
    ("POST", "/v2/models/affine/generate"): (404, 404, 404),
    ("GET", "/v2/models/affine/infer"): (401, 405, 405),
    ("GET", "/v2/models/affine/../affine/config"): (404, 404, 404),
    ("GET", "/v2//models/affine/config"): (404, 404, 404),
    ("GET", "/v2/models/%61ffine/config"): (404, 404, 404),
    ("GET", "/metrics"): (404, 404, 404),
}
METHODS = {
    "ServerReady": (0, 0, 0),
    "ServerMetadata": (16, 0, 0),
    "RepositoryIndex": (16, 0, 0),
    "LogSettings": (16, 7, 0),
    "SystemSharedMemoryStatus": (12, 12, 12),
    "TraceSetting": (12, 12, 12),
}


def test_what_is_open_to_whom(triton: Server, tmp_path: Path) -> None:
    access = Access(tokens=(TOKEN,), control_tokens=(CONTROL,), opened=("repository", "log"))
    with guarded(triton, tmp_path, access) as guard, grpc.insecure_channel(guard.places.grpc) as channel:
        found = {
            (method, path): tuple(
                ask(guard.addresses["http"], path, b"" if method == "POST" else None, token)[0]
                for token in ("", TOKEN, CONTROL)
            )
            for method, path in PATHS
        }
        assert found == PATHS
        metrics = guard.addresses["metrics"].removesuffix("/metrics")
        assert [ask(metrics, "/metrics", token=token)[0] for token in ("", TOKEN)] == [401, 200]
        assert {
            name: tuple(code(channel, name, token) for token in ("", TOKEN, CONTROL)) for name in METHODS
        } == METHODS


def code(channel: grpc.Channel, method: str, token: str) -> int:
    """The number of gRPC's status."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    kind = getattr(service_pb2, f"{method}Request")
    try:
        getattr(stub, method)(kind(), metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=20)
    except grpc.RpcError as error:
        return int(error.code().value[0])
    return 0


def test_what_is_refused_says_why(triton: Server, tmp_path: Path) -> None:
    """The rest of the rules is in tests/unit/serving/test_guard_rules.py: here, that both protocols ask them."""
    with guarded(triton, tmp_path, json=1000) as guard:
        url, path = guard.addresses["http"], "/v2/models/affine/infer"
        deep, valid = b"[" * 999, json.dumps(over_http.VALID).encode()
        assert ask(url, path, deep) == (
            400,
            '{"error": "refused before the server: the JSON is nested deeper than 64"}',
        )
        assert ask(url, path, valid)[0] == 200
        packed = ask(url, path, valid, **{"Content-Encoding": "gzip"})
        assert packed == (415, '{"error":"compressed bodies are not taken"}')
        assert "more than 16777216 bytes" in ask(url, path, bytes(17 * MIB))[1]
        assert "allowed are 1000" in ask(url, path, valid + b" " * 1000)[1]
        with grpc.insecure_channel(guard.places.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            lie = service_pb2.ModelInferRequest(model_name="lengths", id="7", raw_input_contents=[b""])
            lie.inputs.add(name="tokens", datatype="INT64").shape.extend([1, 2**61])
            with pytest.raises(grpc.RpcError, match="refused before the server: input 'tokens'"):
                stub.ModelInfer(lie, timeout=20)
            answers = list(stub.ModelStreamInfer(iter([lie, lie]), timeout=20))
            assert ["refused before the server" in answer.error_message for answer in answers] == [True, True]
            assert answers[0].infer_response.id == "7"
            classes = over_grpc.infer("text", "s", "BYTES", [1, 1], b"\x01\x00\x00\x00a")
            classes.outputs.add(name="t").parameters["classification"].int64_param = 1
            with pytest.raises(grpc.RpcError, match="output 't' of model 'text' is text, which has no classes"):
                stub.ModelInfer(classes, timeout=20)
            with pytest.raises(grpc.RpcError, match="compressed messages are not taken"):
                stub.ModelInfer(lie, timeout=20, compression=grpc.Compression.Gzip)


def processes_of(triton: Server, guard: Guard) -> set[int]:
    """All that serve: Triton, its models', nginx and its workers, the filter."""
    roots = [psutil.Process(pid) for pid in (triton.pid, *guard.pids.values())]
    return {process.pid for root in roots for process in (root, *root.children(recursive=True))}


def fire(guard: Guard, attacks: list[Attack], rate: float) -> Counter[str]:
    """How many of each kind were answered."""
    ports = {"http": guard.places.http, "grpc": guard.places.grpc}
    numbers = {protocol: int(place.rpartition(":")[2]) for protocol, place in ports.items()}
    answers = asyncio.run(send_all(attacks, numbers, rate=rate))
    return Counter(f"{attack.protocol} {attack.kind}" for attack, answer in answers if answer)


def fire_from_elsewhere(guard: Guard, attacks: list[Attack], rate: float) -> None:
    """As `fire`, where it is the attackers' own work that must not take the cores of the server."""
    context = multiprocessing.get_context("fork")
    sender = context.Process(target=lambda: (os.nice(10), fire(guard, attacks, rate)))
    sender.start()
    sender.join()
    assert sender.exitcode == 0


def test_hostile_requests_bring_nothing_down(triton: Server, tmp_path: Path) -> None:
    """A few of each kind; the long test below sends twenty thousand."""
    with guarded(triton, tmp_path) as guard:
        before = processes_of(triton, guard)
        urls = [guard.addresses["http"], guard.addresses["grpc"]]
        with Honest(urls, rate=20) as honest:
            answered = fire(guard, mixed(6, SEED), rate=60)
            told = honest.told()
        assert processes_of(triton, guard) == before
        assert (told.failures, told.wrong) == ([], 0)
        assert len(told.seconds) > 50
        # They were requests, and came to where they were to be stopped.
        assert set(answered) >= {"http lying shape", "http brackets", "grpc lying shape", "grpc mutated protobuf"}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_thousand_hostile_requests_beside_honest_ones(triton: Server, tmp_path: Path) -> None:
    """With `-s` it says what was measured. Calm and hostile spans alternate, so that a busy machine slows down both."""
    rounds, of_each, rate = 12, 50, 40
    with guarded(triton, tmp_path) as guard:
        before = processes_of(triton, guard)
        urls, calm, hostile = [guard.addresses["http"], guard.addresses["grpc"]], [], []
        memory, sent, failures = [], 0, []
        for number in range(rounds):
            with Honest(urls, rate=50) as honest:
                time.sleep(8)
                told = honest.told()
            calm += told.seconds
            attacks = mixed(of_each, SEED + number)
            with Honest(urls, rate=50) as honest:
                fire_from_elsewhere(guard, attacks, rate)
                told = honest.told()
            sent += len(attacks)
            hostile += told.seconds
            failures += [*told.failures, *["a wrong answer"] * told.wrong]
            memory.append(sum(psutil.Process(pid).memory_info().rss for pid in before) / MIB)
            sys.stdout.write(
                f"{sent} sent; honest p99 {np.percentile(calm, 99) * 1e3:.1f} ms calm, "
                f"{np.percentile(hostile, 99) * 1e3:.1f} ms beside them ({len(hostile)} calls); {memory[-1]:.0f} MiB\n"
            )
            assert processes_of(triton, guard) == before
        assert sent >= 20_000
        assert failures == []
        assert np.percentile(hostile, 99) < 3 * np.percentile(calm, 99)
        assert max(memory[rounds // 2 :]) < 1.2 * max(memory[: rounds // 2])


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


def test_the_command(authority: Authority, tmp_path: Path) -> None:
    """It is on where the host is not loopback; what runs on this machine goes past it, and what does not, through."""
    publish_file(graphs.write(graphs.AFFINE, tmp_path / "affine.onnx"), "affine", tmp_path / "models")
    access = with_tls(authority, authority.good)
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    script = f"""
import json, os, subprocess, sys
from clients import connect
state = json.load(open(os.environ["CONCH_SERVER"]))
url = state["guard"]["grpc"].replace("127.0.0.1", "localhost")
with connect(url, ca={str(authority.ca)!r}, token={TOKEN!r}) as client:
    print([model.name for model in client.models()])
subprocess.run([sys.executable, "-m", "conch", "rollout", "affine", "--why", "tried"], check=True)
"""
    ended = conch(
        tmp_path, "serve", "--host", "0.0.0.0", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0",
        "--certificate", str(access.certificate), "--key", str(access.key), "--token-file", str(tmp_path / "tokens"),
        "--", sys.executable, "-c", script,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "['affine']" in ended.stdout
    assert "unguarded" in ended.stderr
    assert "warning" not in ended.stderr


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
        status, said = ask(page, "/health")
        for _ in range(100):
            if "not looked at yet" not in said:
                break
            time.sleep(0.1)
            status, said = ask(page, "/health")
        faults = json.loads(said)["faults"]
        assert status == {"right": 200, "wrong": 503}[golden], faults
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
