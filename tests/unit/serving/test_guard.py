"""How the guard is set up: its flags, tokens, certificates and nginx's configuration."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serving.commands.guard_flags import GuardFlags
from serving.errors import ServingError
from serving.guard import deploy, grpc_messages, guard, routes
from serving.guard.access import Access, check_certificates, read_tokens
from serving.guard.configuration import token_lines
from serving.guard.limits import Limits
from serving.server.events import Event, listening
from tests.support.authority import Authority
from tests.support.nginx import INSTALL, PROGRAM

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    found = Authority(tmp_path_factory.mktemp("authority"))
    for name, identity in {"good": found.good, "other": found.bad["expired"]}.items():
        (found.folder / f"{name}.pem").write_bytes(identity.chain)
        (found.folder / f"{name}.key").write_bytes(identity.key)
    return found


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.commands.guard_flags.find_nginx", lambda: "nginx")


def tokens(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "tokens"
    file.write_text(text)
    file.chmod(mode)
    return file


class TestTokens:
    def test_are_lines_of_a_file_that_nobody_else_reads(self, tmp_path: Path) -> None:
        assert read_tokens(tokens(tmp_path, f"# mine\n{TOKEN}\n\n {TOKEN}== \n")) == (TOKEN, TOKEN + "==")

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
    def test_that_others_could_read_are_refused(self, tmp_path: Path, mode: int) -> None:
        with pytest.raises(ServingError, match=f"has mode {mode:04o}.*chmod 600"):
            read_tokens(tokens(tmp_path, TOKEN, mode))

    @pytest.mark.parametrize(("mode", "allowed"), [(0o440, True), (0o640, True), (0o660, False), (0o444, False)])
    def test_of_somebody_else_may_be_read_by_our_group(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, allowed: bool
    ) -> None:
        file = tokens(tmp_path, TOKEN, mode)  # as Kubernetes mounts a secret for a pod with an fsGroup
        monkeypatch.setattr("serving.guard.access.os.geteuid", lambda: file.stat().st_uid + 1)
        if allowed:
            assert read_tokens(file) == (TOKEN,)
        else:
            with pytest.raises(ServingError, match=f"has mode {mode:04o}"):
                read_tokens(file)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("short", "line 1 of .* is no token: 16 to 512"),
            (f"{TOKEN}\nwith a blank in it\n", "line 2 of"),
            (f'{TOKEN}" control;\n', "line 1 of"),
            ("# none\n", "has no token in it.*openssl rand"),
        ],
    )
    def test_that_are_none_are_refused_and_not_shown(self, tmp_path: Path, text: str, reason: str) -> None:
        with pytest.raises(ServingError, match=reason) as told:
            read_tokens(tokens(tmp_path, text))
        assert "short" not in str(told.value)

    def test_of_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ServingError, match=r"cannot read tokens of .*: No such file"):
            read_tokens(tmp_path / "nothing")

    def test_are_compared_as_they_are(self) -> None:
        (line,) = token_lines(Access(tokens=(f"{TOKEN}.+/~=",))).splitlines()
        pattern = re.fullmatch(r'"~(.*)" use;', line)
        assert pattern is not None
        matches = {header: bool(re.search(pattern[1], header)) for header in (
            f"Bearer {TOKEN}.+/~=", f"bearer {TOKEN}.+/~=", f"Bearer {TOKEN.upper()}.+/~=", f"Bearer {TOKEN}x+/~=",
            f"Bearer {TOKEN}.+/~=x", f"x Bearer {TOKEN}.+/~=",
        )}  # fmt: skip
        assert list(matches.values()) == [True, True, False, False, False, False]


class TestCertificates:
    @pytest.mark.parametrize(
        ("certificate", "key", "client_ca", "reason"),
        [
            ("good.pem", None, None, "TLS needs both"),
            (None, None, "ca.pem", "--client-ca asks callers for a certificate, which needs TLS"),
            ("good.pem", "other.key", None, "the key is of another certificate"),
            ("good.key", "good.key", None, "one of them is not what it has to be, in PEM"),
            ("nothing", "good.key", None, "No such file"),
            ("good.pem", "good.key", "good.key", "cannot use --client-ca .*no certificate in PEM"),
        ],
    )
    def test_that_cannot_be_used(
        self, authority: Authority, certificate: str | None, key: str | None, client_ca: str | None, reason: str
    ) -> None:
        first, second, third = (authority.folder / name if name else None for name in (certificate, key, client_ca))
        with pytest.raises(ServingError, match=reason):
            check_certificates(Access(first, second, third))

    def test_that_can(self, authority: Authority) -> None:
        check_certificates(Access(authority.folder / "good.pem", authority.folder / "good.key", authority.ca))


class TestFlags:
    @pytest.mark.parametrize(
        ("host", "flags", "guarded"),
        [
            ("127.0.0.1", {}, False), ("localhost", {}, False), ("127.0.0.1", {"guard": True}, True),
            ("127.0.0.1", {"max_rate": 5}, True), ("0.0.0.0", {}, True), ("192.0.2.1", {"no_guard": True}, False),
        ],
    )  # fmt: skip
    def test_a_guard_is_there_where_others_reach_the_server_or_it_is_asked_for(
        self, host: str, flags: dict[str, Any], guarded: bool
    ) -> None:
        assert (GuardFlags(**flags).prepared(host) is not None) == guarded

    def test_limits(self) -> None:
        prepared = GuardFlags(max_body=1, max_json=2, max_rate=3, max_connections=400).prepared("127.0.0.1")
        assert prepared is not None
        assert prepared[0] == Limits(1, 2, 3, 400, requests=400)
        with pytest.raises(ServingError, match="--max-body 0 lets nothing in"):
            GuardFlags(max_body=0).prepared("127.0.0.1")

    def test_what_contradicts_itself(self, tmp_path: Path) -> None:
        file = tokens(tmp_path, TOKEN)
        for flags, host, reason in (
            (GuardFlags(no_guard=True, max_rate=5), "127.0.0.1", "--max-rate and --no-guard contradict"),
            (GuardFlags(open=("log",)), "127.0.0.1", "--open and --control-token-file need each other"),
            (GuardFlags(control_token_file=file), "127.0.0.1", "--open and --control-token-file need each other"),
            (GuardFlags(token_file=file), "0.0.0.0", "tokens would go to 0.0.0.0 as plain text"),
        ):
            with pytest.raises(ServingError, match=reason):
                flags.prepared(host)

    @pytest.mark.parametrize(
        ("host", "tls", "token", "no_guard", "said"),
        [
            ("0.0.0.0", False, False, True, "there is no guard"),
            ("0.0.0.0", False, False, False, "read what others send"),
            ("0.0.0.0", True, False, False, "--token-file or --client-ca ask who it is"),
            ("0.0.0.0", True, True, False, None),
            ("127.0.0.1", False, False, False, None),
        ],
    )
    def test_what_is_left_open_is_told(
        self, authority: Authority, tmp_path: Path, host: str, tls: bool, token: bool, no_guard: bool, said: str | None
    ) -> None:
        events: list[Event] = []
        flags: dict[str, Any] = {"no_guard": no_guard}
        if tls:
            flags |= {"certificate": authority.folder / "good.pem", "key": authority.folder / "good.key"}
        if token:
            flags |= {"token_file": tokens(tmp_path, TOKEN)}
        with listening(events.append):
            GuardFlags(**flags).prepared(host)
        assert [bool(said) and str(said) in event.message for event in events] == ([True] if said else [])


def test_where_nginx_is_missing_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ServingError, match=r"needs nginx, which is not installed: apt-get install nginx"):
        guard.find_nginx()


def test_each_method_that_can_be_opened_is_known_to_the_filter() -> None:
    opened = [routes.HEALTH, routes.USE, *routes.CONTROL.values()]
    assert [path for each in opened for path in each.grpc if grpc_messages.request_class(path) is None] == []


def test_the_copy_for_others_is_what_the_generator_makes() -> None:
    for file, text in deploy.files().items():
        assert (ROOT / "serving" / "deploy" / file).read_text() == text, "python -m serving.guard.deploy"


@pytest.mark.skipif(PROGRAM is None, reason=INSTALL)
@pytest.mark.slow
def test_nginx_takes_the_copy(authority: Authority, tmp_path: Path) -> None:
    """With this folder for those that it names, as this user."""
    text = deploy.files()["nginx.conf"]
    for folder in (deploy.SETTINGS, deploy.RUN, deploy.LOGS):
        text = text.replace(str(folder), str(tmp_path))
    (tmp_path / "nginx.conf").write_text(re.sub(r"\nuser .*;", "", text))
    (tmp_path / "tokens.map").write_text(token_lines(Access(tokens=(TOKEN,), control_tokens=(TOKEN + "x",))))
    for name in ("server.pem", "server.key"):
        (tmp_path / name).write_bytes((authority.folder / name.replace("server", "good")).read_bytes())
    command = [str(PROGRAM), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    tested = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr
