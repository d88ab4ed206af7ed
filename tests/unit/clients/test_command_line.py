"""Bad input to the commands: one line on stderr, an exit code by its kind, no traceback; and without a server, no
waiting."""

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.__main__ import main
from clients.address import Protocol
from clients.client import connect
from clients.commands.exit_codes import BadCommand, exit_code
from clients.errors import (
    ClientError,
    DeadlineExceeded,
    Overloaded,
    Refused,
    UnknownModel,
    Unreachable,
    WrongKind,
    WrongTensor,
)
from tests.support.http_servers import Answering, answering


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.fixture
def other_server_port() -> Iterator[int]:
    """A web server that is no Triton."""

    class Hello(Answering):
        def do_GET(self) -> None:
            self.answer(b"hello")

    with answering(Hello) as port:
        yield port


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("L", (28, 28)).save(tmp_path / "digit.png")
    return str(tmp_path / "digit.png")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    """The one line of stderr with which a command fails."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("error: ")
    return captured.err


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_no_server_at_the_address(
    capsys: pytest.CaptureFixture[str], closed_port: int, picture: str, tmp_path: Path, protocol: str
) -> None:
    np.save(tmp_path / "array.npy", np.zeros((1, 28, 28, 1), np.uint8))
    commands = [
        ["status"],
        ["classify", picture],
        ["denoise", picture, "--out", str(tmp_path / "out.png")],
        ["enlarge", picture, "--out", str(tmp_path / "out.png")],
        ["stylise", picture, "--out", str(tmp_path / "out.png")],
        ["segment", picture, "--out", str(tmp_path / "out.png")],
        ["detect", picture, "--out", str(tmp_path / "out.png")],
        ["generate", "--out", str(tmp_path / "out.png")],
        ["complete", "The "],
        ["caption", picture],
        ["translate", "the 3rd of May, 1997"],
        ["drive"],
        ["infer", "cnn", "--input", f"image={tmp_path / 'array.npy'}"],
        ["watch"],
        ["watch", "cnn"],
    ]
    for command in commands:
        line = refused(capsys, *command, "--url", f"{protocol}://127.0.0.1:{closed_port}", code=3)
        assert f"no server at {protocol}://127.0.0.1:{closed_port} (Connection refused)" in line
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_silent_server_is_given_up_after_the_timeout(silent_port: int, protocol: Protocol) -> None:
    with connect(f"127.0.0.1:{silent_port}", protocol, timeout=0.3) as client, pytest.raises(Unreachable):
        client.server()


def test_server_of_another_kind(capsys: pytest.CaptureFixture[str], other_server_port: int) -> None:
    line = refused(capsys, "status", "--url", f"127.0.0.1:{other_server_port}", code=3)
    assert "does not speak KServe v2" in line


def test_file_that_is_no_image_is_found_without_a_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_text("hello")
    assert "digit.png is no image" in refused(capsys, "classify", str(tmp_path / "digit.png"))


def test_unwritable_output_is_found_without_a_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no folder" in refused(capsys, "generate", "--out", str(tmp_path / "none" / "grid.png"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", "--url", "localhost"], "expected host:port"),
        (["status", "--timeout", "0"], "timeout of 0"),
        (["classify"], "no file is named"),
        (["classify", "a.png", "--top", "0"], "--top 0: allowed are 1 and more"),
        (["generate", "--out", "a.png", "--count", "0"], "--count 0"),
        (["complete", "The ", "--length", "-1"], "--length, --seed"),
        (["denoise", "a.png", "b.png", "--out", "c.png"], "several pictures need a folder"),
        (["denoise", "a/1.png", "b/1.png", "--out", "."], "a/1.png and b/1.png would both become 1.png"),
        (["infer", "m", "--input", "x=x.npy", "--output", "y"], "expected NAME=FILE.npy"),
        (["infer", "m", "--input", "x=x.npy", "--output", "y=-", "--output", "z=-"], "takes one array"),
        (["watch", "--interval", "1d"], "allowed are 10ms to 24h"),
        (["watch", "--interval", "0s"], "allowed are 10ms to 24h"),
        (["watch", "--count", "0"], "--count 0"),
    ],
)
def test_words_that_make_no_command_end_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in refused(capsys, *arguments, code=2)


def test_each_kind_of_error_has_a_code_of_its_own_or_that_of_its_base() -> None:
    class OfAServersOwn(Refused):
        pass

    errors = [WrongKind("w"), BadCommand("b"), Unreachable("u"), UnknownModel("m", []), WrongTensor("t"), Refused("r")]
    later = [OfAServersOwn("o"), Overloaded("o"), DeadlineExceeded("d")]
    assert [exit_code(error) for error in (*errors, *later)] == [1, 2, 3, 4, 5, 6, 6, 7, 8]


def test_timeout_that_leaves_no_time() -> None:
    with pytest.raises(ClientError, match="timeout"):
        connect("localhost:1", timeout=0)
