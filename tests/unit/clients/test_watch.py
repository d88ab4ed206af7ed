"""`watch` where servers come and go; what a real one counts is in the live tests."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from clients.__main__ import main
from clients.access import Access
from clients.commands import watch
from clients.errors import Unreachable
from clients.server_statistics import Counters

AWAY = Unreachable("no server at http://a:1 (Connection refused)")
Reading = Counters | Unreachable


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets servers, named by their addresses, answer one after the other what is given."""

    def answer(**servers: list[Reading]) -> None:
        class Server:
            def __init__(self, url: str) -> None:
                self.readings = servers[url.partition(":")[0]]

            def counters(self) -> dict[tuple[str, str], Counters]:
                if isinstance(found := self.readings.pop(0), Unreachable):
                    raise found
                return {("cnn", "1"): found}

            def close(self) -> None: ...

        connect = Access.connect

        def connected(access: Access, url: Any, *words: Any, **more: Any) -> Any:
            return Server(url) if isinstance(url, str) else connect(access, url, *words, **more)

        monkeypatch.setattr(Access, "connect", connected)
        monkeypatch.delenv("CONCH_METRICS", raising=False)

    return answer


def counted(requests: int) -> Counters:
    return Counters(requests, 0, requests * 1_000_000, requests, 0, {1: requests})


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["watch", "--interval", "10ms", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_server_that_goes_away_is_waited_for_and_nothing_is_lost(
    capsys: pytest.CaptureFixture[str], readings: Callable[..., None]
) -> None:
    readings(a=[counted(5), counted(7), AWAY, AWAY, counted(17), counted(2)])
    code, out, err = run(capsys, "--count", "5", "--url", "a:1", "--json")
    documents = [json.loads(line) for line in out.splitlines()]
    models = [document["models"][0] if document["models"] else None for document in documents]
    sums = [model and sum(model["batch_sizes"].values()) for model in models]
    assert (code, sums, err) == (0, [2, None, None, 10, 2], ""), "the last is a server that was started anew"
    assert documents[1]["error"] == str(AWAY)
    assert documents[0]["models"][0]["latency_ms"] == 1.0

    readings(a=[counted(5), AWAY, AWAY, counted(5)])
    code, out, err = run(capsys, "--count", "3", "--url", "a:1")
    assert (code, out.count("no requests"), err) == (0, 1, f"error: {AWAY}; it is waited for\n")


def test_the_last_word_decides_the_exit_code(capsys: pytest.CaptureFixture[str], readings: Callable[..., None]) -> None:
    readings(a=[counted(5), AWAY])
    assert run(capsys, "--count", "1", "--url", "a:1", "--json")[0] == 3
    readings(a=[AWAY])
    assert run(capsys, "--url", "a:1") == (3, "", f"error: {AWAY}\n")


def test_of_several_servers_the_first_that_answers_is_shown(
    capsys: pytest.CaptureFixture[str], readings: Callable[..., None]
) -> None:
    readings(a=[counted(5), AWAY, AWAY, counted(6)], b=[counted(90), counted(93)])
    _, out, _ = run(capsys, "--count", "3", "--url", "a:1", "--url", "b:1", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(one["server"], sum(one["models"][0]["batch_sizes"].values())) for one in found] == [
        ("http://b:1", 0), ("http://b:1", 3), ("http://a:1", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--count", "9"], 130)])
def test_ctrl_c_is_how_it_ends_and_with_a_count_how_it_is_stopped(
    capsys: pytest.CaptureFixture[str], readings: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
    flags: list[str], code: int,
) -> None:  # fmt: skip
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    readings(a=[counted(5)])
    monkeypatch.setattr(watch.time, "sleep", interrupt)
    assert run(capsys, "--url", "a:1", *flags) == (code, "", "")
