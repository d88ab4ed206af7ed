"""Clients of a real Triton behind nginx, of one that speaks TLS itself, and of one that restricts its APIs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients import ClientError, Refused, WrongCertificate
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.authority import Authority
from tests.support.client_kinds import KINDS, called
from tests.support.nginx import INSTALL, PROGRAM, free_port, nginx, running

X = np.arange(8, dtype=np.float32).reshape(2, 4)
TOKEN = "only-for-this-test"
KEYS = {"infer-key": "only-for-this-test-either"}
PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
# What the page calls: pixels in, ten numbers out.
CNN = """
cnn (uint8[batch, 28, 28, 1] image) => (float[batch, 10] probabilities)
<int64[2] flat = {-1, 784}, int64[1] zero = {0}, int64[1] ten = {10}, int64[1] axis = {1}>
{ pixels = Cast<to = 1>(image)
  rows = Reshape(pixels, flat)
  logits = Slice(rows, zero, ten, axis)
  probabilities = Softmax<axis = -1>(logits) }
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security")
    for name, graph in {"affine": graphs.AFFINE, "cnn": CNN}.items():
        publish_file(graphs.write(graph, folder / f"{name}.onnx"), name, folder / "models")
    return folder / "models"


@pytest.fixture(scope="module")
def restricted(repository: Path) -> Iterator[Server]:
    """A Triton that runs its models for those with a key only; it speaks no TLS."""
    pair = "=".join(*KEYS.items())
    options = [f"--http-restricted-api=inference:{pair}", f"--grpc-restricted-protocol=inference:{pair}"]
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, options=options) as server:
        yield server


@pytest.fixture(scope="module")
def secured(repository: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton with TLS of its own over gRPC, for callers with a certificate only."""
    folder = tmp_path_factory.mktemp("secured")
    (folder / "server.pem").write_bytes(authority.good.chain)
    (folder / "server.key").write_bytes(authority.good.key)
    options = ["--grpc-use-ssl=1", "--grpc-use-ssl-mutual=1", f"--grpc-root-cert={authority.ca}"]
    options += [f"--grpc-server-cert={folder}/server.pem", f"--grpc-server-key={folder}/server.key"]
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, options=options) as server:
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def infer(client: Any) -> Any:
    return client.infer("affine", {"x": X})


def right(answers: list[dict[str, np.ndarray]]) -> bool:
    return all(np.array_equal(answer["doubled"], 2 * X) for answer in answers)


def test_a_key_opens_a_restricted_api(kind: str, protocol: str, restricted: Server) -> None:
    url = f"{protocol}://{getattr(restricted, protocol)}"
    assert right(called(kind, url, infer, infer, api_keys=KEYS))
    for keys in ({}, {"infer-key": "another"}):
        with pytest.raises(
            Refused, match=r"restricted, expecting header .*infer-key.*\(api_keys, CONCH_API_KEYS\)"
        ) as told:
            called(kind, url, infer, api_keys=keys)
        assert "another" not in str(told.value)


@pytest.mark.skipif(PROGRAM is None, reason=INSTALL)
class TestNginx:
    @pytest.fixture
    def upstream(self, protocol: str, restricted: Server) -> str:
        return f"{protocol}://{getattr(restricted, protocol)}"

    def test_ends_tls_and_asks_for_a_token(
        self, kind: str, upstream: str, authority: Authority, tmp_path: Path
    ) -> None:
        with nginx(upstream, authority.good, tmp_path / "nginx", TOKEN) as url:
            assert right(called(kind, url, infer, infer, ca=authority.ca, token=TOKEN, api_keys=KEYS))
            for token in (None, "another"):
                with pytest.raises(Refused, match=r"does not let this client in.*401.*a token") as told:
                    called(kind, url, infer, ca=authority.ca, token=token, api_keys=KEYS)
                assert "another" not in str(told.value)

    def test_asks_for_a_certificate(self, kind: str, upstream: str, authority: Authority, tmp_path: Path) -> None:
        with nginx(upstream, authority.mutual, tmp_path / "nginx") as url:
            files = authority.of_caller("caller")
            assert right(called(kind, url, infer, ca=authority.ca, **files, api_keys=KEYS))
            for wrong in ({}, authority.of_caller("foreign", authority.foreign)):
                with pytest.raises(WrongCertificate, match="wants a client's certificate: give one that it trusts"):
                    called(kind, url, infer, ca=authority.ca, **wrong, api_keys=KEYS)

    @pytest.mark.parametrize("wrong", ["signature", "authority", "name", "expired"])
    def test_is_not_trusted(self, kind: str, upstream: str, authority: Authority, tmp_path: Path, wrong: str) -> None:
        words = {
            "signature": "self.signed",
            "authority": "not trusted here",
            "name": "of another name",
            "expired": "has expired",
        }
        with (
            nginx(upstream, authority.bad[wrong], tmp_path / "nginx") as url,
            pytest.raises(WrongCertificate, match=words[wrong]),
        ):
            called(kind, url, infer, ca=authority.ca, token=TOKEN, api_keys=KEYS)

    def test_is_called_without_tls(self, kind: str, upstream: str, authority: Authority, tmp_path: Path) -> None:
        with (
            nginx(upstream, authority.good, tmp_path / "nginx") as url,
            pytest.raises(ClientError, match=r"speaks TLS,? .*call (http|grpc)s://"),
        ):
            called(kind, url.replace("s://localhost", "://127.0.0.1"), infer)


@pytest.mark.skipif(PROGRAM is None, reason=INSTALL)
def test_the_page(restricted: Server, authority: Authority, tmp_path: Path) -> None:
    """Its configuration of nginx, its commands and its script, at free ports and with the key of this Triton."""
    ports = {8443: free_port(), 8444: free_port()}
    (configuration,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    (script,) = re.findall(r"```python\n# secure.py\n(.*?)```", PAGE, re.DOTALL)
    (commands,) = (block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "secure.py" in block)
    for port, free in ports.items():
        configuration = configuration.replace(f"listen {port}", f"listen 127.0.0.1:{free}")
        script, commands = (text.replace(f":{port}", f":{free}") for text in (script, commands))
    configuration = configuration.replace("/etc/nginx", str(tmp_path)).replace("127.0.0.1:8000", restricted.http)
    (tmp_path / "secure.py").write_text(script)
    (tmp_path / "token.txt").write_text("change-me\n")
    (tmp_path / "ca.pem").write_bytes(authority.ca.read_bytes())
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CONCH_API_KEYS": "=".join(*KEYS.items()),
    }
    servers = configuration.replace("127.0.0.1:8001", restricted.grpc)
    with running(servers, list(ports.values()), authority.good, tmp_path):
        ended = subprocess.run(
            ["bash", "-e", "-c", commands.replace("conch call", f"{sys.executable} -m conch call")],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("affine") == 2
    assert ended.stdout.endswith("(10,)\n")


def test_two_servers_of_the_page_of_which_one_is_gone(restricted: Server, tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n# two.py\n(.*?)```", PAGE, re.DOTALL)
    assert "python two.py\n" in PAGE
    for place, own in {"a:8001": f"127.0.0.1:{free_port()}", "b:8001": restricted.grpc}.items():
        script = script.replace(f'"{place}"', f'"{own}"')
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env=os.environ | {"CONCH_API_KEYS": "=".join(*KEYS.items()), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert re.fullmatch(r"10 answers; [1-9]\d* times the other server had to be asked\n", ended.stdout), ended.stderr


def test_tritons_own_tls(kind: str, secured: Server, authority: Authority) -> None:
    url = f"grpcs://localhost:{secured.grpc.rpartition(':')[2]}"
    assert right(called(kind, url, infer, infer, ca=authority.ca, **authority.of_caller("caller")))
    with pytest.raises(WrongCertificate, match="not trusted here"):
        called(kind, url, infer)
    with pytest.raises(ClientError, match="certificate and key"):
        called(kind, url, infer, ca=authority.ca)
    with pytest.raises(ClientError, match=f"if it speaks TLS, call grpcs://{secured.grpc}"):
        called(kind, f"grpc://{secured.grpc}", infer)
