"""Whom a guard before a real Triton lets in, to what, and what it says to the others."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clients import ClientError, Overloaded, Refused, WrongCertificate, connect
from clients.__main__ import main as call
from serving.guard.access import Access
from serving.guard.limits import MIB
from serving.repository.foreign import publish_file
from serving.repository.publish import publish
from serving.server.server import Server
from tests.support import graphs
from tests.support.authority import Authority
from tests.support.client_kinds import KINDS, called
from tests.support.guarded import CONTROL, TOKEN, ask, by_name, code, guarded, infer, right, with_tls
from tests.support.hostile import over_grpc, over_http
from tests.support.hostile.models import publish_all
from tests.support.nginx import INSTALL, PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=INSTALL)

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


def test_health_is_answered_some_times_a_second(triton: Server, tmp_path: Path) -> None:
    """It is open to everybody, and each answer costs as much as another call."""
    with guarded(triton, tmp_path) as guard, grpc.insecure_channel(guard.places.grpc) as channel:
        http = Counter(ask(guard.addresses["http"], "/v2/health/live")[0] for _ in range(300))
        of_grpc = Counter(code(channel, "ServerLive", "") for _ in range(300))
        assert (set(http), set(of_grpc)) == ({200, 429}, {0, 8})
        assert http[200] > 100
        assert right(called("blocking", guard.addresses["grpc"], infer))


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
