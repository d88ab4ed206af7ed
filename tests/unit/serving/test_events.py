"""An event is told once, to whoever listens, as a line for a person or an object for a program."""

import io
import json
import math
import threading
from pathlib import Path

import pytest
from rich.console import Console

from serving.server.events import Event, emit, listening, writer


def test_every_listener_gets_the_event_as_long_as_it_listens() -> None:
    first: list[Event] = []
    second: list[Event] = []
    with listening(first.append), listening(second.append):
        emit("server_restarted", level="warning", model="cnn", version="3", reason="SIGSEGV", seconds=1.5)
    emit("server_ready")
    (event,) = first
    assert second == first
    assert (event.event, event.level, event.model, event.version) == ("server_restarted", "warning", "cnn", 3)
    assert event.fields == {"reason": "SIGSEGV", "seconds": 1.5}
    assert event.message == "server restarted: reason=SIGSEGV, seconds=1.5"


@pytest.mark.parametrize(("given", "version"), [("3", 3), (3, 3), ("-", None), (None, None)])
def test_a_version_is_a_number_or_none(given: int | str | None, version: int | None) -> None:
    heard: list[Event] = []
    with listening(heard.append):
        emit("model_not_loaded", version=given)
    assert heard[0].version == version


def test_json_is_an_object_a_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(writer("json", Console(file=io.StringIO()))):
        emit("a", "two\nlines [red]not markup[/]", file=Path("x"), rate=math.nan, name="Grüße")
        emit("b", level="error")
    out, err = capsys.readouterr()
    assert not out
    first, second = map(json.loads, err.splitlines())
    assert set(first) == {"time", "event", "level", "message", "model", "version", "fields"}
    assert first["message"] == "two lines [red]not markup[/]"
    assert first["fields"] == {"file": "x", "rate": None, "name": "Grüße"}
    assert (second["event"], second["level"], second["message"]) == ("b", "error", "b")


def test_text_shows_trouble_on_standard_error_and_the_rest_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    with listening(writer("text", Console(file=screen, width=200))):
        emit("a", "all is [well]")
        emit("b", "it helped itself", level="warning")
        emit("c", "somebody has to", level="error")
    assert screen.getvalue() == "all is [well]\n"
    assert capsys.readouterr().err == "warning: it helped itself\nerror: somebody has to\n"


def test_a_reader_that_is_gone_does_not_end_what_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr("sys.stderr", gone)
    with listening(writer("json", Console(file=gone))), listening(writer("text", Console(file=gone))):
        emit("a", level="error")
        emit("b")


def test_lines_of_threads_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    def tell() -> None:
        for _ in range(50):
            emit("a", "x" * 500)

    with listening(writer("json", Console(file=io.StringIO()))):
        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["x" * 500] * 200
