"""TLS over both protocols, against servers of the test's own; tests/live/test_client_security.py has a real Triton."""

from typing import Any

import numpy as np
import pytest

from clients import Unreachable, WrongCertificate
from tests.support.authority import Authority
from tests.support.client_kinds import KINDS, called
from tests.support.kserve_servers import serving_double

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
        pytest.raises(Unreachable, match=rf"if it speaks TLS, call {protocol}s://localhost:{port}"),
    ):
        called(kind, f"{protocol}://localhost:{port}", infer, attempts=1)
