"""Models of text, and forked callers, against a real server of small models."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from clients import WrongKind, WrongTensor, connect
from clients.__main__ import main
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.loads import ROOT

WORDS = """
<ir_version: 9, opset_import: ["": 20]>
words (string[batch] text) => (string[batch] shouted, bool[batch] long)
{ shouted = StringConcat(text, text)
  long = RegexFullMatch <pattern = ".{4,}"> (text) }
"""
INDICES = """
<ir_version: 9, opset_import: ["": 20]>
indices (float[n] x) => (int64[1, k] found)
{ found = NonZero(x) }
"""
TEXTS = ["shell", "Käse", "貝"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("words")
    onnx.save(parser.parse_model(WORDS), folder / "words.onnx")
    publish_file(folder / "words.onnx", "words", folder / "models")
    onnx.save(parser.parse_model(INDICES), folder / "indices.onnx")
    publish_file(folder / "indices.onnx", "indices", folder / "models")
    publish_file(graphs.write(graphs.AFFINE, folder / "affine.onnx"), "affine", folder / "models")
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    """The server's address, once for each protocol."""
    return f"{request.param}://{getattr(server, request.param)}"


def test_text_of_every_kind_is_answered(url: str) -> None:
    encoded = np.char.encode(np.array(TEXTS), "utf-8")
    kinds: list[Any] = [np.array(TEXTS), encoded, np.array(TEXTS, object), encoded.astype(object)]
    with connect(url) as client:
        for texts in kinds:
            answer = client.infer("words", {"text": texts[:, None]})
            assert [item.decode() for item in answer["shouted"].ravel()] == [text * 2 for text in TEXTS]
            assert answer["long"].ravel().tolist() == [True, True, False]
        with pytest.raises(WrongTensor, match=r"words: input 'text' holds 3 of type int, allowed are str and bytes"):
            client.infer("words", {"text": np.array([["a"], [3]], object)})
        with pytest.raises(WrongTensor, match=r"affine: input 'x' got BYTES \[1, 4\], allowed is FP32"):
            client.infer("affine", {"x": np.array([["1", "2", "3", "4"]])})


def test_text_comes_from_files_and_goes_into_files(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path
) -> None:
    texts, out, again = np.array(TEXTS)[:, None], tmp_path / "out.npy", tmp_path / "again.npy"
    for name, kept in {"u.npy": texts, "s.npy": np.char.encode(texts, "utf-8")}.items():
        np.save(tmp_path / name, kept)
        command = ["infer", "words", "--input", f"text={tmp_path / name}", "--url", url]
        assert main([*command, "--output", f"shouted={out}"]) == 0
        np.testing.assert_array_equal(np.load(out, allow_pickle=False), texts * np.array(2, object))
        capsys.readouterr()
        assert main(command) == 0
        assert re.search(r"shouted +text +\[3, 1\] +\[\['shellshell'\]", capsys.readouterr().out)
    assert main(["infer", "words", "--input", f"text={out}", "--output", f"shouted={again}", "--url", url]) == 0
    assert np.load(again, allow_pickle=False)[0, 0] == "shell" * 4


def test_classes_of_text_are_not_asked_for_and_the_server_lives(url: str) -> None:
    with connect(url) as client:
        for output in ("shouted", "long"):
            with pytest.raises(WrongKind, match=rf"words: output '{output}' is .* has no classes; .*: none"):
                client.classify("words", {"text": np.array([["a"]])}, output)
        with pytest.raises(WrongKind, match="allowed are 1 to 2147483647"):
            client.classify("affine", {"x": np.ones((1, 4), np.float32)}, "doubled", 2**32 + 1)
        assert len(client.classify("affine", {"x": np.ones((1, 4), np.float32)}, "doubled", 9)[0]) == 4
        assert client.ready()


def test_classes_of_an_output_that_turns_out_to_be_empty_leave_the_server_alive(url: str) -> None:
    with connect(url) as client:
        (found,) = client.classify("indices", {"x": np.array([1, 0, 1], np.float32)}, "found", 9)
        assert [(entry.index, entry.value) for entry in found] == [(1, 2), (0, 0)]
        assert client.classify("indices", {"x": np.zeros(3, np.float32)}, "found") == [[]]
        assert client.ready()


def test_forked_children_get_answers_or_errors_in_time(url: str) -> None:
    command = [sys.executable, "-m", "tests.support.forked_calls", url, "affine"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    for how in ("a child's child", "a child's child with the first one's client"):
        assert said.pop(how) == "SystemExit: ok"
    assert said.pop("nobody listens").startswith("Unreachable: no server at ")
    assert set(said.values()) == {"ok"}, said
