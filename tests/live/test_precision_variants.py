"""Variants of an ONNX file in lower precisions answer in a real Triton what they answered when they were judged."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conch.contracts.golden import read_golden
from export.__main__ import main
from serving.server.server import Server
from tests.support import quantizable
from tests.support.calls import infer

WAYS = {
    "row_int8": ("--precision", "int8", "--quantize", "dynamic"),
    "range_int8": ("--precision", "int8", "--quantize", "static"),
    "few_int4": ("--precision", "int4", "--allowed-loss", "10"),
    "half_fp16": ("--precision", "fp16"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with a variant of each kind, made by command."""
    folder = tmp_path_factory.mktemp("variants")
    quantizable.perceptron(folder / "m.onnx")
    quantizable.sequences(folder / "x.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder / "artifacts"))
        for name, words in WAYS.items():
            named = ("--name", name.rpartition("_")[0], "--inputs-from", str(folder / "x.npz"), "--max-batch", "4")
            patch.setattr("sys.argv", ["export", "onnx", str(folder / "m.onnx"), *named, *words, "--even-if-slower"])
            assert main() == 0
        yield folder / "artifacts" / "models"


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with Server(models, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.mark.parametrize("name", WAYS)
def test_it_gives_its_golden_answers(server: Server, models: Path, name: str) -> None:
    inputs, outputs = read_golden(models / name / "1")
    for rows in (1, 3, 4):
        got = infer(server, "http", name, {"x": inputs["x"][:rows]})
        np.testing.assert_allclose(got["y"], outputs["y"][:rows], rtol=1e-4, atol=1e-5)
