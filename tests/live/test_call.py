"""`conch call` as a program, against a real server of small models: pipes, many files, exit codes, watching."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser
from PIL import Image

from clients import connect
from clients.__main__ import main
from clients.errors import Refused
from clients.preparation import Preparation
from serving.repository.configuration import parse, render
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs

ROOT = Path(__file__).parents[2]
WORDS = """
<ir_version: 9, opset_import: ["": 20]>
words (string[batch] text) => (string[batch] twice) { twice = StringConcat(text, text) }
"""
BRIGHTNESS = """
brightness (uint8[batch, high, wide, 1] image) => (float[batch, 1] mean)
{ x = Cast <to = 1> (image)
  axes = Constant <value_ints = [1, 2]> ()
  mean = ReduceMean <keepdims = 0> (x, axes) }
"""
INVERTED = """
inverted (uint8[batch, 4, 4, 1] image) => (uint8[batch, 4, 4, 1] turned, float[batch, 1] error)
<uint8 white = {255}>
{ turned = Sub (white, image)
  x = Cast <to = 1> (image)
  axes = Constant <value_ints = [1, 2]> ()
  error = ReduceMean <keepdims = 0> (x, axes) }
"""
IMPATIENT = "impatient"
"""A model whose queue refuses what waits a millisecond, and lets everything wait longer."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("call")
    (folder / "labels.txt").write_text("cat\nbig dog\nbird\n")
    texts = {"affine": graphs.AFFINE, "pick": graphs.PICK, "classify": graphs.CLASSIFY, IMPATIENT: graphs.AFFINE}
    for name, text in (texts | {"brightness": BRIGHTNESS, "inverted": INVERTED}).items():
        labels = str(folder / "labels.txt") if name == "classify" else None
        preparation = Preparation() if "image" in text else None
        file = graphs.write(text, folder / f"{name}.onnx")
        publish_file(file, name, folder / "models", max_batch=4, labels=labels, preparation=preparation)
    onnx.save(parser.parse_model(WORDS), folder / "words.onnx")
    publish_file(folder / "words.onnx", "words", folder / "models")
    config_file = folder / "models" / IMPATIENT / "config.pbtxt"
    config = parse(config_file.read_text())
    config.dynamic_batching.max_queue_delay_microseconds = 200_000
    config.dynamic_batching.default_queue_policy.default_timeout_microseconds = 1000
    del config.model_warmup[:]
    config_file.write_text(render(config))
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    """The server's address, once for each protocol."""
    return f"{request.param}://{getattr(server, request.param)}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with eleven pictures of 4x4 from black to bright, one that is none, and arrays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(11):
        Image.new("L", (4, 4), number * 20).save(f"in/{number:02}.png")
    (tmp_path / "broken.png").write_text("no picture")
    np.save("x.npy", np.ones((2, 4), np.float32))
    np.save("index.npy", np.array([[99]]))
    return tmp_path


def call(*words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The real command."""
    command = [sys.executable, "-m", "conch", "call", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command, input=stdin, env=environment, capture_output=True, timeout=100, check=False)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """What a command that ends with `code` prints, and its standard error."""
    capsys.readouterr()
    ended = main(words)
    captured = capsys.readouterr()
    assert ended == code, captured.err
    return captured.out, captured.err


def test_each_kind_of_error_ends_with_its_code(server: Server, folder: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        nobody = f"127.0.0.1:{silent.getsockname()[1]}"
        closed = "127.0.0.1:1"
        affine = ["infer", "affine", "--input"]
        cases = [
            (0, ["status"], ""),
            (0, ["status", "--url", closed, "--url", server.grpc, "--protocol", "grpc"], ""),
            (1, ["classify", "broken.png", "--model", "classify"], "broken.png is no image"),
            (2, ["classify", "in/00.png", "--modle", "classify"], "--modle"),
            (2, ["status", "--url", "nowhere"], "expected host:port"),
            (3, ["status", "--url", closed], f"no server at http://{closed}"),
            (4, ["classify", "in/00.png", "--model", "vit"], "no model 'vit'; it has: affine, "),
            (5, [*affine, "y=x.npy"], "no input 'y', allowed are: x FP32"),
            (6, ["infer", "pick", "--input", "index=index.npy"], "out of data bounds"),
            (7, ["infer", IMPATIENT, "--input", "x.npy"], "no room for the request now: Request timeout expired"),
            (8, ["status", "--url", nobody, "--timeout", "0.3"], "within 0.3 s"),
        ]
        for code, words, says in cases:
            ended = call(*words, CONCH_HTTP=server.http)
            error = ended.stderr.decode()
            assert ended.returncode == code, error
            assert says in error
            assert error.count("\n") == (1 if code not in (0, 2) else error.count("\n")), error


def test_many_pictures_are_batched_and_answered_in_order(
    capsys: pytest.CaptureFixture[str], url: str, server: Server, folder: Path
) -> None:
    with connect(url) as client:
        pixels = np.stack([np.full((4, 4, 1), number * 20, np.uint8) for number in range(11)])
        before = client.counters()["classify", "1"]
        best = [client.classify("classify", {"image": each[None]}, "probabilities", 1)[0][0] for each in pixels]
    command = ["classify", "in/*.png", "--model", "classify", "--top", "1", "--url", url]
    out, err = said(capsys, *command)
    assert err == ""
    assert out.splitlines() == [f"in/{n:02}.png  {one.label} {one.value:.4f}" for n, one in enumerate(best)]
    with connect(url) as client:
        assert client.counters()["classify", "1"].since(before).runs == {1: 11, 4: 2, 3: 1}
    documents = [json.loads(line) for line in said(capsys, *command, "--json")[0].splitlines()]
    assert [document[0]["picture"] for document in documents] == [f"in/{n:02}.png" for n in range(11)]
    assert [document[0]["label"] for document in documents] == [one.label for one in best]


def test_of_many_pictures_one_that_is_none_is_told_and_the_others_are_answered(
    capsys: pytest.CaptureFixture[str], url: str, folder: Path
) -> None:
    command = ["classify", "in/03.png", "broken.png", "in/00.png", "--model", "classify", "--url", url]
    out, err = said(capsys, *command, code=1)
    assert [line.split()[0] for line in out.splitlines()] == ["in/03.png", "in/00.png"]
    assert err == "error: broken.png is no image that Pillow can read\n"


def test_pictures_of_different_sizes_come_in_order_where_the_model_takes_any(
    capsys: pytest.CaptureFixture[str], url: str, folder: Path
) -> None:
    for number, side in enumerate((5, 5, 9, 5, 5, 5, 5, 5, 9)):
        Image.new("L", (side, 2 * side), 10 + number).save(f"{number}.png")
    out, _ = said(capsys, "classify", "?.png", "--model", "brightness", "--url", url)
    assert [line.split()[-1] for line in out.splitlines()] == [f"{10 + number}.0000" for number in range(9)]


def test_pictures_are_cleaned_into_a_folder(capsys: pytest.CaptureFixture[str], url: str, folder: Path) -> None:
    (folder / "out").mkdir()
    command = ["denoise", "in/*.png", "--out", "out", "--model", "inverted", "--url", url]
    out, _ = said(capsys, *command)
    assert out.count("wrote out/") == 11
    assert [int(np.asarray(Image.open(f"out/{n:02}.png"))[0, 0]) for n in range(11)] == [
        255 - 20 * n for n in range(11)
    ]
    (line,) = said(capsys, *command[:1], "in/02.png", *command[2:], "--json")[0].splitlines()
    assert json.loads(line) == {"picture": "in/02.png", "kept_in": "out/02.png", "error": 40.0}


def test_pipes_carry_pictures_arrays_and_text(server: Server, folder: Path) -> None:
    picture = Path("in/09.png").read_bytes()
    ended = call("classify", "-", "--model", "classify", "--json", stdin=picture, CONCH_HTTP=server.http)
    assert json.loads(ended.stdout)[0]["picture"] == "-"
    ended = call("classify", "-", "--model", "classify", stdin=b"", CONCH_HTTP=server.http)
    assert (ended.returncode, ended.stderr) == (1, b"error: the standard input is no image that Pillow can read\n")

    doubled = call("infer", "affine", "--input", "x.npy", "--output", "doubled=-", CONCH_HTTP=server.http)
    again = call("infer", "affine", "--input", "-", "--json", stdin=doubled.stdout, CONCH_HTTP=server.http)
    assert {one["output"]: one["values"] for one in json.loads(again.stdout)} == {
        "doubled": [[4.0] * 4] * 2, "total": [[8.0], [8.0]],
    }  # fmt: skip

    lines = "shell\nKäse\n".encode()
    kept = call("infer", "words", "--input", "text=-", "--output", "twice=t.npy", stdin=lines, CONCH_HTTP=server.http)
    assert kept.returncode == 0, kept.stderr
    assert np.load("t.npy").tolist() == [["shellshell"], ["KäseKäse"]]


def test_answers_go_to_the_pipe_and_the_bar_to_the_terminal(server: Server, folder: Path) -> None:
    command = [sys.executable, "-m", "conch", "call", "classify", "in/*.png", "--model", "classify"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CONCH_HTTP": server.http, "TERM": "xterm"}
    ours, theirs = pty.openpty()
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=theirs, timeout=100, check=False)
    os.close(theirs)
    assert ended.returncode == 0
    assert ended.stdout.count(b"\n") == 11
    assert "classifying" in everything(ours)


def everything(terminal: int) -> str:
    """All that was written to a terminal that its program has left."""
    read = b""
    with contextlib.suppress(OSError):  # its end, on Linux
        while found := os.read(terminal, 1 << 16):
            read += found
    os.close(terminal)
    return read.decode()


def test_watch_counts_what_was_sent_and_ends_when_asked(url: str, server: Server) -> None:
    command = [sys.executable, "-m", "conch", "call", "watch", "--interval", "300ms", "--json", "--url", url]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CONCH_METRICS": server.metrics}
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching,
        connect(url) as client,
    ):
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert {model["name"] for model in first["models"]} >= {"affine", "classify", IMPATIENT}
        for _ in range(10):
            client.infer("affine", {"x": np.ones((2, 4), np.float32)})
        for _ in range(3):
            with pytest.raises(Refused, match="Request timeout expired"):
                client.infer(IMPATIENT, {"x": np.ones((1, 4), np.float32)})
        requests, failures, runs = 0.0, 0, 0
        while failures < 3:
            interval = json.loads(watching.stdout.readline())
            models = {model["name"]: model for model in interval["models"]}
            requests += models["affine"]["requests_per_s"] * interval["seconds"]
            failures += models[IMPATIENT]["failures"]
            runs += models["affine"]["batch_sizes"].get("2", 0)
            assert models["affine"]["pending"] == 0
        assert (round(requests), failures, runs) == (10, 3, 10)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0


@pytest.mark.parametrize("words", [["watch", "--count", "2", "--interval", "200ms"], ["status"]])
def test_nothing_is_cut_at_80_columns_or_in_a_log(server: Server, words: list[str]) -> None:
    command = [sys.executable, "-m", "conch", "call", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CONCH_HTTP": server.http, "CONCH_METRICS": server.metrics}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    ended = subprocess.run(command, env=environment | {"TERM": "xterm"}, stdout=theirs, timeout=100, check=False)
    os.close(theirs)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", everything(ours))
    assert ended.returncode == 0
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for word in (
        "affine",
        "brightness",
        IMPATIENT,
        "words",
        *(["doubled FP32"] if words == ["status"] else ["requests"]),
    ):
        assert word in shown
    logged = call(*words, CONCH_HTTP=server.http).stdout.decode()
    assert ("brightness  1        READY  image UINT8" if words == ["status"] else "no requests\n") in logged
    assert "\x1b" not in logged


def test_watch_tells_a_model_that_is_not_there(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    _, error = said(capsys, "watch", "vit", "--count", "1", "--url", server.http, code=4)
    assert "no model 'vit'" in error
    _, error = said(capsys, "watch", "--metrics", "127.0.0.1:1", "--url", server.http, code=3)
    assert "no server at http://127.0.0.1:1" in error
