"""Tokens and keys: where they come from, where they go, and where they never show."""

import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients import ClientError, Overloaded, connect
from clients.address import resolve
from clients.calls import Question, Sending
from clients.certificates import Certificates
from clients.credentials import Credentials, Secret
from clients.deadline import Deadline
from clients.transports import http_message
from tests.support.client_kinds import KINDS, called
from tests.support.kserve_servers import serving_double

X = np.arange(8, dtype=np.float32).reshape(2, 4)
HTTP, GRPC, FAR = resolve("http://localhost:1"), resolve("grpc://localhost:1"), resolve("http://far.example:8000")


def headers(*addresses: Any, environment: dict[str, str] | None = None, **given: Any) -> dict[str, str]:
    return dict(Credentials(addresses or [HTTP], environment=environment or {}, **given).headers())


def test_a_token_is_a_bearers() -> None:
    assert headers(token="abc") == {"authorization": "Bearer abc"}
    assert headers(environment={"CONCH_TOKEN": "abc"}) == {"authorization": "Bearer abc"}
    assert headers(environment={"CONCH_TOKEN": "abc"}, token="mine") == {"authorization": "Bearer mine"}
    assert headers(environment={"CONCH_TOKEN": "abc"}, headers={"Authorization": "Basic x"}) == {
        "Authorization": "Basic x"
    }


def test_a_token_of_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    made = Credentials([HTTP], token=file, environment={})
    assert made.headers() == {"authorization": "Bearer first"}
    new = tmp_path / "new"
    new.write_text("second\n")
    new.replace(file)
    assert made.headers() == {"authorization": "Bearer second"}
    assert headers(environment={"CONCH_TOKEN_FILE": str(file)}) == {"authorization": "Bearer second"}
    file.unlink()
    with pytest.raises(ClientError, match=r"cannot read the token in .*token: No such file"):
        made.headers()


def test_keys_of_restricted_apis_have_tritons_names() -> None:
    keys = {"infer-key": "a,b", "admin": "c"}
    assert headers(api_keys=keys) == keys
    assert headers(GRPC, api_keys=keys) == {f"triton-grpc-protocol-{name}": value for name, value in keys.items()}
    assert headers(environment={"CONCH_API_KEYS": "infer-key=a%2Cb, admin=c"}) == keys


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"token": ""}, "the token is empty"),
        ({"token": "sec ret"}, "not one word of printable ASCII"),
        ({"token": "secret\nx-admin: 1"}, "not one word of printable ASCII"),
        ({"token": "sécret"}, "not one word of printable ASCII"),
        ({"api_keys": {"a b": "secret"}}, "header 'a b': a name is"),
        ({"api_keys": {"a": "secret\r\n"}}, "header 'a': a value is printable ASCII"),
        ({"api_keys": {"a": b"secret"}}, "header 'a': a value is printable ASCII"),
        ({"headers": {5: "secret"}}, "header 5: a name is"),
        ({"headers": {"Content-Length": "secret"}}, "header 'Content-Length' is the client's own"),
        ({"headers": {"x-bin": "secret"}}, "header 'x-bin' is the client's own"),
        ({"token": "secret", "headers": {"Authorization": "secret"}}, "one of them is needed"),
        ({"environment": {"CONCH_API_KEYS": "secret"}}, "CONCH_API_KEYS is not of the form"),
        ({"token": Path("/nowhere/token")}, "cannot read the token in /nowhere/token: No such file"),
    ],
)
def test_what_cannot_be_sent_is_refused_without_showing_it(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as told:
        headers(**given)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("given", [{"token": "a"}, {"api_keys": {"a": "b"}}, {"headers": {"AUTHORIZATION": "Basic a"}}])
def test_none_is_sent_as_plain_text_to_another_machine(given: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match=r"to http://far.example:8000 as plain text: use https://far.example:8000"):
        headers(HTTP, FAR, **given)
    assert headers(FAR, plain_text=True, **given)
    assert headers(resolve("https://far.example"), **given)
    assert headers(FAR, headers={"x-request-id": "1"}) == {"x-request-id": "1"}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_shows_a_secret(kind: str, protocol: str) -> None:
    """Not even the variables of a traceback, as error trackers collect them."""
    secrets: dict[str, Any] = {"token": "hidden", "api_keys": {"key": "hidden"}, "headers": {"x-own": "hidden"}}
    with serving_double(protocol) as (port, model):
        model.full = 9
        works = [lambda client: client.infer("double", {"x": X})]
        with pytest.raises(Overloaded) as told:
            called(kind, f"{protocol}://127.0.0.1:{port}", *works, attempts=1, **secrets)
    assert "hidden" in str(dict(model.headers)), "they were sent"
    assert "hidden" not in "".join(traceback.format_exception(told.value))
    own = [
        frame for frame, _ in traceback.walk_tb(told.tb) if "/clients/" in frame.f_code.co_filename.split("/tests/")[0]
    ]
    assert own
    assert "hidden" not in "".join(repr(frame.f_locals) for frame in own)


def test_objects_that_hold_a_secret_do_not_show_it() -> None:
    assert repr({"authorization": Secret("hidden")}) == "{'authorization': '***'}"
    sending = Sending(HTTP, Question("server"), Deadline(1.0), {"authorization": "hidden"})
    assert "hidden" not in repr(sending)
    assert http_message.written(sending).headers == {"authorization": "hidden"}
    assert "hidden" not in repr(http_message.written(sending))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"key": "key.pem"}, "without its certificate"),
        ({"ca": "no.pem"}, "cannot read no.pem: No such file"),
        ({"ca": "empty.pem"}, "empty.pem holds no certificates in PEM"),
        ({"certificate": "empty.pem"}, "empty.pem holds no certificate in PEM"),
        ({"certificate": "encrypted.pem"}, "the key encrypted.pem is encrypted: decrypt it with openssl"),
    ],
)
@pytest.mark.parametrize("protocol", ["https", "grpcs"])
def test_files_that_cannot_be_used_are_named(
    protocol: str, given: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pem").touch()
    (tmp_path / "encrypted.pem").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(ClientError, match=words):
        connect(f"{protocol}://localhost:1", **given)  # type: ignore[arg-type]


def test_certificates_of_the_environment() -> None:
    environment = {"CONCH_CA": "ca", "CONCH_CERTIFICATE": "mine", "CONCH_KEY": "key"}
    tls = [resolve("https://box")]
    assert Certificates.given(tls, environment=environment) == Certificates(Path("ca"), Path("mine"), Path("key"))
    assert Certificates.given(tls, certificate="b", environment=environment) == Certificates(Path("ca"), Path("b"))
    assert Certificates.given([HTTP], environment=environment).ca == Path("ca")  # for clients that speak TLS
    with pytest.raises(ClientError, match="certificates are for TLS, which http://localhost:1 does not speak"):
        Certificates.given([HTTP], ca="ca", environment={})
