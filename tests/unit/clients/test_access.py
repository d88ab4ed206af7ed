"""Who is shown a token, and how it comes to a child process."""

from pathlib import Path
from typing import Any

import pytest

from clients.access import Access
from clients.address import resolve

TOKEN = "a-token-of-tests"
SHOWN = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONCH_TOKEN", "CONCH_TOKEN_FILE", "CONCH_CA", "CONCH_CERTIFICATE", "CONCH_KEY", "CONCH_API_KEYS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("metrics", "server", "headers"),
    [
        ("https://box:8002", "https://box:8000", SHOWN),
        ("https://BOX:8002/metrics", "grpcs://box:8001", SHOWN),
        ("127.0.0.1:8002", "https://localhost:8443", SHOWN),
        ("box:8002", "https://box:8000", {}),  # as plain text
        ("localhost:8002", "https://box:8000", {}),  # whoever listens here is not that server
        ("https://other:8002", "https://box:8000", {}),
    ],
)
def test_metrics_get_the_token_of_their_server_alone(metrics: str, server: str, headers: dict[str, str]) -> None:
    door = Access(token=TOKEN).metrics_door(resolve(metrics, "http"), resolve(server))
    assert dict(door.headers()) == headers
    assert not door.address.target.endswith("metrics")


@pytest.mark.parametrize(
    ("given", "before", "after"),
    [
        ({"token": TOKEN}, {"CONCH_TOKEN_FILE": "old"}, {"CONCH_TOKEN": TOKEN}),
        ({"token_file": Path("t")}, {"CONCH_TOKEN": "old"}, {"CONCH_TOKEN_FILE": "t"}),
        ({"certificate": Path("me.pem")}, {"CONCH_KEY": "of another"}, {"CONCH_CERTIFICATE": "me.pem"}),
        ({"ca": Path("ca.pem")}, {"CONCH_TOKEN": TOKEN}, {"CONCH_CA": "ca.pem", "CONCH_TOKEN": TOKEN}),
    ],
)
def test_a_child_is_let_in_alike(
    given: dict[str, Any], before: dict[str, str], after: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    found = Access(**given).environment()
    assert {name: value for name, value in found.items() if name.startswith("CONCH_") and "ARTI" not in name} == after


def test_a_token_is_not_shown() -> None:
    assert TOKEN not in repr(Access(token=TOKEN))
