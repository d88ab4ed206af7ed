"""TLS over both protocols, against servers of the test's own; tests/live/test_client_security.py has a real Triton."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients import DeadlineExceeded, Unreachable, WrongCertificate
from clients.__main__ import main
from tests.support.authority import Authority
from tests.support.client_kinds import KINDS, called
from tests.support.faulty_proxy import Fault, faulty_proxy
from tests.support.kserve_servers import serving_double

ROOT = Path(__file__).parents[3]

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def infer(client: Any) -> Any:
    return client.infer("double", {"x": X})


def test_calls_over_tls(kind: str, protocol: str, authority: Authority) -> None:
    with serving_double(protocol, authority.good) as (port, _):
        (answer, again) = called(kind, f"{protocol}s://localhost:{port}", infer, infer, ca=authority.ca)
    np.testing.assert_array_equal(answer["doubled"], 2 * X)
    np.testing.assert_array_equal(again["doubled"], 2 * X)


def test_a_large_batch_over_tls(kind: str, protocol: str, authority: Authority) -> None:
    many = np.random.default_rng(0).random((200, 4), dtype=np.float32)
    with serving_double(protocol, authority.good) as (port, _):
        works = [lambda client: client.infer("double", {"x": many})]
        (answer,) = called(kind, f"{protocol}s://127.0.0.1:{port}", *works, ca=authority.ca)
    np.testing.assert_array_equal(answer["doubled"], 2 * many)


def test_both_sides_show_a_certificate(kind: str, protocol: str, authority: Authority) -> None:
    with serving_double(protocol, authority.mutual) as (port, _):
        files = authority.of_caller("caller")
        (answer,) = called(kind, f"{protocol}s://localhost:{port}", infer, ca=authority.ca, **files)
    np.testing.assert_array_equal(answer["doubled"], 2 * X)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("signature", r"of localhost:\d+ is of an authority that is not trusted here: .* ca .*self.signed"),
        ("authority", r"of localhost:\d+ is of an authority that is not trusted here: .* ca "),
        ("name", r"of localhost:\d+ is of another name"),
        ("expired", r"of localhost:\d+ has expired"),
    ],
)
def test_a_wrong_certificate_is_named(kind: str, protocol: str, authority: Authority, wrong: str, words: str) -> None:
    with (
        serving_double(protocol, authority.bad[wrong]) as (port, model),
        pytest.raises(WrongCertificate, match=words.replace("localhost", f"{protocol}s://localhost")),
    ):
        called(kind, f"{protocol}s://localhost:{port}", infer, ca=authority.ca)
    assert model.runs == 0


def test_this_machines_authorities_do_not_vouch_for_the_tests_own(
    kind: str, protocol: str, authority: Authority
) -> None:
    with (
        serving_double(protocol, authority.good) as (port, _),
        pytest.raises(WrongCertificate, match="not trusted here"),
    ):
        called(kind, f"{protocol}s://localhost:{port}", infer)


@pytest.mark.parametrize("shown", ["none", "foreign"])
def test_a_server_that_wants_another_certificate(kind: str, protocol: str, authority: Authority, shown: str) -> None:
    files = authority.of_caller("foreign", authority.foreign) if shown == "foreign" else {}
    with (
        serving_double(protocol, authority.mutual) as (port, model),
        pytest.raises(Unreachable, match=r"certificate.*--certificate, --key, CONCH_CERTIFICATE, CONCH_KEY"),
    ):
        called(kind, f"{protocol}s://localhost:{port}", infer, ca=authority.ca, **files)
    assert model.runs == 0


def test_tls_to_a_server_without(kind: str, protocol: str, authority: Authority) -> None:
    with (
        serving_double(protocol) as (port, _),
        pytest.raises(WrongCertificate, match=rf"speaks no TLS.*is it {protocol}://localhost:{port}"),
    ):
        called(kind, f"{protocol}s://localhost:{port}", infer, ca=authority.ca)


def test_no_tls_to_a_server_with_it(kind: str, protocol: str, authority: Authority) -> None:
    with (
        serving_double(protocol, authority.good) as (port, _),
        pytest.raises(Unreachable, match=rf"if it speaks TLS, call {protocol}s://127.0.0.1:{port}"),
    ):
        called(kind, f"{protocol}://127.0.0.1:{port}", infer, attempts=1)


@pytest.mark.parametrize("fault", ["silence", "drip"])
def test_a_deadline_holds_in_the_handshake(kind: str, protocol: str, authority: Authority, fault: Fault) -> None:
    with serving_double(protocol, authority.good) as (port, _), faulty_proxy(port) as proxy:
        proxy.fault = fault
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            called(kind, f"{protocol}s://localhost:{proxy.port}", infer, ca=authority.ca, timeout=0.7)
        assert time.monotonic() - began < 3


def test_a_connection_that_breaks_is_made_anew(kind: str, protocol: str, authority: Authority) -> None:
    with serving_double(protocol, authority.good) as (port, _), faulty_proxy(port) as proxy:
        works = [infer, lambda client: proxy.drop(), lambda client: client.infer("double", {"x": X}, repeatable=True)]
        first, _, again = called(kind, f"{protocol}s://localhost:{proxy.port}", *works, ca=authority.ca)
    np.testing.assert_array_equal(again["doubled"], first["doubled"])


def test_another_server_is_asked_where_one_is_not_trusted(kind: str, protocol: str, authority: Authority) -> None:
    with (
        serving_double(protocol, authority.bad["expired"]) as (bad, not_asked),
        serving_double(protocol, authority.good) as (good, _),
    ):
        urls = [f"{protocol}s://localhost:{bad}", f"{protocol}s://localhost:{good}"]
        answers = called(kind, urls, infer, infer, ca=authority.ca)
    assert all(np.array_equal(answer["doubled"], 2 * X) for answer in answers)
    assert not_asked.runs == 0


FORKED = """
import os, sys, numpy as np
from clients import connect

def calls(client, of):
    for number in range(20):
        x = np.full((1, 4), of + number, np.float32)
        np.testing.assert_array_equal(client.infer("double", {"x": x})["doubled"], 2 * x)

with connect(sys.argv[1], ca=sys.argv[2], timeout=20) as client:
    calls(client, 0)
    if (child := os.fork()) == 0:
        try:
            calls(client, 1000)
            os._exit(0)
        finally:
            os._exit(1)
    calls(client, 2000)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_parent_and_child_go_on_after_a_fork(protocol: str, authority: Authority) -> None:
    with serving_double(protocol, authority.good) as (port, _):
        run = [sys.executable, "-c", FORKED, f"{protocol}s://localhost:{port}", str(authority.ca)]
        ended = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_on_the_command_line(
    protocol: str, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "token").write_text("secret\n")
    token = ["--token-file", str(tmp_path / "token")]
    files = [f"--{name}={path}" for name, path in authority.of_caller("caller").items()]
    with serving_double(protocol, authority.mutual) as (port, model):
        command = ["infer", "double", f"--input=x={tmp_path / 'x.npy'}", f"--url={protocol}s://localhost:{port}"]
        assert main([*command, f"--ca={authority.ca}", *files, *token]) == 0
        assert model.headers["authorization"] == "Bearer secret"
        assert main([*command, *files, *token]) == 3
        assert "name the authority's certificate with ca (--ca, CONCH_CA)" in capsys.readouterr().err
    assert main([*command, *token, "--token", "another"]) == 2
    assert main(["status", "--url", f"{protocol}://far.example:1", *token]) == 2
    assert "as plain text: use" in (said := capsys.readouterr().err)
    assert "secret" not in said
