"""Loads of a server behind its guard, over TLS and with a token, which is shown to the server and to nobody else."""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.authority import Authority
from tests.support.forked_commands import ForkedCommands
from tests.support.guarded import by_name, guarded, with_tls
from tests.support.nginx import INSTALL, PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=INSTALL)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")
TOKEN = "of-these-tests-alone-1"
AFFINE = ("run", "affine", "--rate", "30", "--duration", "2s", "--users", "8")


@dataclass
class Place:
    """A guarded server: its addresses, and files of one who is let in."""

    urls: dict[str, str]
    artifacts: Path
    authority: Authority
    token_file: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"CONCH_ARTIFACTS": str(self.artifacts)}

    @property
    def let_in(self) -> tuple[str, ...]:
        return ("--ca", str(self.authority.ca), "--token-file", str(self.token_file))

    @property
    def promises(self) -> tuple[str, ...]:
        return ("--promises", str(self.artifacts / "promises.yaml"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("guarded")
    publish_file(graphs.write(graphs.AFFINE, folder / "affine.onnx"), "affine", folder / "models")
    (folder / "promises.yaml").write_text("affine: {rate: 30, error_rate: 0, p50_ms: 10000}\n")
    (folder / "token.txt").write_text(f"{TOKEN}\n")
    authority = Authority(folder)
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as triton:
        access = with_tls(authority, authority.good, tokens=(TOKEN,))
        with guarded(triton, folder, access) as guard:
            yield Place(by_name(guard), folder, authority, folder / "token.txt")


def started(place: Place, *words: str, module: str = "loadtest", cwd: Path = ROOT) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", module, *words], cwd=cwd, env=os.environ | place.environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def flags_of_the_page(place: Place) -> list[str]:
    """Those of both commands that docs/load.md shows, with the addresses of this server."""
    (block,) = (part for part in PAGE.split("```") if part.startswith("sh\n") and "https://" in part)
    commands = [shlex.split(line) for line in block.splitlines()[1:]]
    assert [words[:4] for words in commands] == [["conch", "load", "run", "cnn"]] * 2
    places = {"https://localhost:8443": place.urls["http"], "grpcs://localhost:8444": place.urls["grpc"]}
    return [places.get(word, word) for words in commands for word in words[4:]]


def words_of_all_processes() -> str:
    """As everybody on this machine can list them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += process.cmdline()
    return "\n".join(found)


def test_a_run_over_both_protocols_that_shows_its_token_to_nobody_else(place: Place) -> None:
    words = (*flags_of_the_page(place), "--metrics", place.urls["metrics"])
    listed = ""
    running = started(place, *AFFINE, *words, *place.promises, cwd=place.artifacts)
    while running.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.1)
        listed += words_of_all_processes()
    said = running.stdout.read() if running.stdout else ""
    folder = place.artifacts / "report" / "load" / "affine"
    run = json.loads((folder / "run.json").read_text())
    assert run["failures"] == 0, run["errors"]
    assert {part["protocol"]: part["checked"] == part["requests"] > 0 for part in run["parts"]} == {
        "http": True, "grpc": True,
    }  # fmt: skip
    assert run["url"] == f"{place.urls['http']}, {place.urls['grpc']}"
    assert run["server"]["split"]["affine"]["requests"] > 0  # the process that looks on was let in, too
    assert any("machine_bytes" in sample for sample in run["server"]["samples"])
    assert "server_probe" in listed
    kept = "".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())
    assert [TOKEN in text for text in (said, listed, kept)] == [False] * 3


def test_searches_take_the_same_flags(place: Place) -> None:
    words = ("profile", "affine", "--url", place.urls["grpc"], *place.let_in, "--start", "20", "--most", "20")
    running = started(place, *words, "--duration", "1s", "--warmup", "0s", "--users", "4")
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said
    found = json.loads((place.artifacts / "report" / "load-profile" / "affine.json").read_text())
    assert found["protocol"] == "grpc"
    assert [point["failures"] for point in found["points"]] == [0]


def test_who_is_not_let_in_hears_so_in_a_line_before_the_load(place: Place, tmp_path: Path) -> None:
    wrong, none = tmp_path / "wrong", tmp_path / "none"
    wrong.write_text("of-somebody-else-2")
    ca, token = ("--ca", str(place.authority.ca)), ("--token-file", str(place.token_file))
    cases = [
        ("http", token, "is of an authority that is not trusted here: name the authority's certificate with ca (--ca"),
        ("grpc", token, "is of an authority that is not trusted here: name the authority's certificate with ca (--ca"),
        ("http", ca, "does not let this client in"),
        ("http", (*ca, "--token-file", str(wrong)), "does not let this client in"),
        ("grpc", (*ca, "--token-file", str(wrong)), "does not let this client in"),
        ("http", ("--ca", str(none)), f"cannot read {none}: No such file or directory"),
        ("http", (*ca, *token, "--token", "another"), "--token and --token-file are given: one of them is needed"),
    ]
    with contextlib.closing(ForkedCommands("loadtest.__main__")) as commands:
        for protocol, flags, words in cases:
            url = ("--url", place.urls[protocol])
            ended = commands.run("loadtest.__main__", *AFFINE, *url, *flags, *place.promises, env=place.environment)
            assert (ended.returncode, ended.stderr.count("\n")) == (3, 1), ended.stderr
            assert ended.stderr.startswith("error: ")
            assert words in ended.stderr
            assert not any(secret in ended.stderr for secret in (TOKEN, "of-somebody-else-2"))


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as own:
        return str(own.getsockname()[1])


@pytest.mark.parametrize("token", ["right", "wrong"])
def test_a_worker_is_let_in_by_what_it_has_itself(place: Place, tmp_path: Path, token: str) -> None:
    """The master knows where the server is, and no token; it may be on a machine that nobody lets in."""
    port, results = free_port(), tmp_path / "results"
    (tmp_path / "wrong").write_text("of-somebody-else-2")
    shown = place.token_file if token == "right" else tmp_path / "wrong"
    file = ("-f", "tests/load/locustfile.py", "--model", "affine", *place.promises)
    master = started(
        place, *file, "--headless", "-t", "2s", "--warmup", "0", "--rate", "30", "-u", "4", "--results", str(results),
        "--http", place.urls["http"], "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port,
        "--expect-workers", "1", "TritonHttpUser", module="locust",
    )  # fmt: skip
    join = ("--worker", "--master-host", "127.0.0.1", "--master-port", port)
    let_in = ("--ca", str(place.authority.ca), "--token-file", str(shown))
    worker = started(place, *file, *join, *let_in, "TritonHttpUser", module="locust")
    try:
        said, _ = worker.communicate(timeout=60)
        told, _ = master.communicate(timeout=60)
    finally:
        for one in (worker, master):
            one.kill()
            one.wait()
    run = json.loads((results / "run.json").read_text())
    if token == "right":
        assert run["requests"] > 20, told
        assert (run["failures"], run["url"]) == (0, place.urls["http"]), told
    else:
        assert worker.returncode == 3, said
        assert "error: " in said
        assert "does not let this client in" in said
        assert run["requests"] == 0
        assert run["verdict"] == "INVALID"
    assert TOKEN not in said + told
