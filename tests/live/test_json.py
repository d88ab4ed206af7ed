"""--json of what needs a running server, against a Triton over two small models."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.repository.foreign import publish_file
from tests.support import graphs

FREE_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
PROMISES = "affine: {rate: 50, error_rate: 0.0, p50_ms: 1000}\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An artifacts folder with two models and what the commands below send."""
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nbird\n")
    for name, text in (("affine", graphs.AFFINE), ("classify", graphs.CLASSIFY)):
        file = graphs.write(text, tmp_path / f"{name}.onnx")
        publish_file(file, name, tmp_path / "models", labels=str(labels) if name == "classify" else None)
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    Image.new("L", (4, 4), 200).save(tmp_path / "picture.png")
    (tmp_path / "promises.yaml").write_text(PROMISES)
    return tmp_path


def documents(small: Path, *commands: tuple[str, ...]) -> list[Any]:
    """What the server's own line and each command say."""
    conch = f"{sys.executable} -m conch"
    script = " && ".join(f"{conch} {' '.join(words)} --json >{number}.json" for number, words in enumerate(commands))
    serve = [sys.executable, "-m", "conch", "serve", "--json", *FREE_PORTS, "--", "sh", "-c", script]
    environment = os.environ | {"CONCH_ARTIFACTS": str(small), "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        serve, cwd=small, env=environment, capture_output=True, text=True, timeout=200, check=False
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    said = [json.loads((small / f"{number}.json").read_text()) for number in range(len(commands))]
    return [json.loads(ended.stderr.splitlines()[0]), *said]


def test_what_asks_a_server_answers_programs(small: Path) -> None:
    serve, status, client, infer, classify, run, profile = documents(
        small,
        ("status", "--first-touch"),
        ("call", "status"),
        ("call", "infer", "affine", "--input", "x=x.npy"),
        ("call", "classify", "picture.png", "--model", "classify"),
        ("load", "run", "affine", "--promises", "promises.yaml", "--duration", "3s"),
        ("load", "profile", "affine", "--duration", "1s", "--most", "60"),
    )
    assert [model["name"] for model in serve["models"]] == ["affine", "classify"]
    assert {model["runs_on"] for model in serve["models"]} == {"CPU"}
    assert status["http"] == serve["http"]
    assert status["models"] == serve["models"]
    assert {touch["model"] for touch in status["first_touch"]} == {"affine", "classify"}
    assert client["ready"]
    assert client["models"][0]["inputs"][0] | {"shape": 0} == {
        "name": "x", "dtype": "FP32", "shape": 0, "batched": True, "optional": False,
    }  # fmt: skip
    outputs = {output["output"]: output["values"] for output in infer}
    assert outputs == {"doubled": [[2.0] * 4] * 2, "total": [[4.0], [4.0]]}
    assert sorted(answer["label"] for answer in classify) == ["bird", "cat", "dog"]
    assert run[0] == json.loads((small / "report" / "load" / "affine" / "run.json").read_text())
    assert profile["points"][0]["rate"] == 50
