"""What Tab offers behind `conch`, in real shells where they are installed, with a server of the test's own."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch import PROJECT
from conch.__main__ import VERBS
from conch.completion.candidates import FILES, OWN_PARSER, POSITIONAL, RECIPES, WORDS, candidates, print_candidates
from conch.completion.flags import learn, specification
from tests.support.http_servers import Answering, answering
from training.catalogue import SHIPPED

MODELS = [{"name": name, "version": "1", "state": "READY"} for name in ("cnn", "cnn_int8", "resnet")]


class Index(Answering):
    """A server that lists the models above."""

    def do_POST(self) -> None:
        self.answer(json.dumps(MODELS).encode())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a picture in it, a `conch` on the path, and the flags of `call` in its cache."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "digit.png").touch()
    program = folder / "bin" / "conch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -m conch "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, answering(Index) as port:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("CONCH_HTTP", f"127.0.0.1:{port}")
        patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("HOME", str(folder))
        patch.setenv("TERM", "xterm")
        patch.setattr("conch.completion.flags.PATIENCE_S", 60.0)  # a parser takes seconds on a busy machine
        learn(["call"])
        yield folder


def offered(*words: str) -> list[str]:
    return [candidate for candidate, _ in candidates(words[:-1], words[-1])]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["st"], ["status"]),
        (["call", "c"], ["caption", "classify", "complete"]),
        (["call", "classify", "--mo"], ["--model"]),
        (["call", "classify", "--model", "c"], ["cnn", "cnn_int8"]),
        (["call", "classify", "--model=cnn_"], ["--model=cnn_int8"]),
        (["call", "classify", "a.png", ""], [FILES]),
        (["call", "classify", "--top", ""], []),
        (["call", "classify", "--invert", ""], [FILES]),
        (["call", "classify", "--protocol", ""], ["http", "grpc"]),
        (["call", "classify", "--url", "127.0.0.1:1", "--model", ""], []),
        (["call", "classify", "--url", "nowhere", "--model", ""], []),
        (["call", "infer", "re"], ["resnet"]),
        (["call", "infer", "resnet", ""], []),
        (["call", "infer", "resnet", "--input", "image="], [FILES]),
        (["call", "watch", "cnn", "re"], ["resnet"]),
        (["call", "denoise", "--out", ""], [FILES]),
        (["call", "complete", ""], []),
        (["train", "l"], ["liquid_state", "lstm", "list", FILES]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["nosuch", ""], []),
        (["rollout", "re"], ["resnet"]),
    ],
)
def test_what_may_stand_at_the_cursor(home: Path, words: list[str], found: list[str]) -> None:
    assert sorted(offered(*words)) == sorted(found)


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("conch call classify --model cnn_", "cnn_int8"),
        ("conch call classify --model=cnn_", "cnn_int8"),
        ("conch call classify 'my picture.png' --model 'cnn_", "cnn_int8"),
        ("conch call classify --url grpc://nowhere:1 --top", "--top"),
        ("conch  call  in", "infer"),
        ("conch call ", "caption"),
    ],
)
def test_bash_gives_its_line_whole(home: Path, capsys: pytest.CaptureFixture[str], line: str, printed: str) -> None:
    print_candidates("bash", [line])
    assert capsys.readouterr().out.splitlines()[0].partition("\t")[0] == printed


def test_every_verb_s_parser_tells_its_flags(home: Path) -> None:
    """Those that take no seconds; the others are found by the same flag of tyro's."""
    for command, flag in {
        "serve": "--repository",
        "publish": "--name",
        "down": "--help",
        "report score": "--url",
    }.items():
        learn(command.split())
        known = specification(command.split())
        assert known is not None
        assert flag in {name for option in known["options"] for name in option["flags"]}, command


def test_the_commands_that_are_named_are_there(home: Path) -> None:
    known = specification(["call"])
    assert known is not None
    assert {place.partition(" ")[0] for place in (*POSITIONAL, *WORDS, *OWN_PARSER)} <= set(VERBS)
    named = {place for place in (*POSITIONAL, *WORDS) if place.startswith("call ")}
    assert named <= {f"call {name}" for name in known["subcommands"]}
    assert set(RECIPES) == set(SHIPPED) == set(OWN_PARSER["train"]) - {"list"}


def test_what_takes_long_to_learn_is_not_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr("conch.completion.flags.PATIENCE_S", 0.0)
    monkeypatch.setattr("conch.completion.flags.subprocess.Popen", lambda *_, **__: asleep)
    assert specification(["tune"]) is None
    assert offered("tune", "--pro") == offered("load", "") == []
    asleep.kill()
    asleep.wait()


def typed(shell: list[str], setup: str, line: str, wanted: str) -> str:
    """What an interactive shell shows for a line and Tab, up to `wanted` or 20 seconds."""
    ours, theirs = pty.openpty()
    session = subprocess.Popen(shell, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 30
    waiting = [("READY", f"{line}\t"), (wanted, "\x03")]
    os.write(ours, f"PS1='> '; {setup}; echo REA''DY\n".encode())
    try:
        while waiting and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 1 << 16).decode(errors="replace")
            if waiting[0][0] in shown:
                os.write(ours, waiting.pop(0)[1].encode())
                shown = "" if waiting else shown
    finally:
        session.kill()
        session.wait()
        os.close(ours)
    return shown


SETUPS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(conch completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit && compinit -D; eval "$(conch completion zsh)"'),
}


@pytest.mark.parametrize("shell", SETUPS)
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("conch call classify --model res", "--model resnet"),
        ("conch call classify --model=res", "--model=resnet"),
        ("conch call classify dig", "classify digit.png"),
        ("conch comp", "completion"),
    ],
)
def test_tab_in_a_real_shell(
    home: Path, shell: str, line: str, completed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    monkeypatch.chdir(home)
    command, setup = SETUPS[shell]
    assert completed in typed(command, setup, line, completed)


def test_fish_offers_with_meanings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    monkeypatch.chdir(home)

    def completions(line: str) -> list[str]:
        program = f"conch completion fish | source; complete -C '{line}'"
        ended = subprocess.run(["fish", "--no-config", "-c", program], capture_output=True, text=True, timeout=60)
        assert ended.stderr == ""
        return ended.stdout.splitlines()

    assert completions("conch call classify --model cnn_") == ["cnn_int8"]
    assert completions("conch call classify --top") == ["--top\tINT • How many labels to show. (default: 3)"]
    assert completions("conch call classify dig") == ["digit.png"]
