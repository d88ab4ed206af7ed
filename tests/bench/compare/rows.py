"""What one checkout costs: run by `tests.bench.compare` with the checkout's code on the module path.

    python rows.py GROUP FOLDER

Prints a JSON object: the name of each row -> seconds. It uses only what the kit promises to its users, so that it runs
on an older checkout, too. FOLDER is kept between the rounds of a checkout.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CALLS = 400
STARTS = {"conch --help": 5, "conch call --help": 3, "conch lint --help": 3, "conch load run --help": 2}
AFFINE = """
<ir_version: 9, opset_import: ["" : 17]>
affine (float[batch, 4] x) => (float[batch, 4] y) { y = Add(x, x) }
"""
MODULE = """
import torch
from torch import nn


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
"""


def conch(*words: str) -> float:
    """CPU-seconds of a command, and of all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "conch", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start(folder: Path) -> dict[str, float]:
    """CPU-seconds until a command is there."""
    return {
        f"{words}, CPU": sum(conch(*words.split()[1:]) for _ in range(times)) / times for words, times in STARTS.items()
    }


def publish(folder: Path) -> Path:
    """A repository with three models, made at the first call."""
    import onnx

    repository = folder / "models"
    for name in ("one", "two", "three"):
        if not (repository / name).exists():
            file = folder / f"{name}.onnx"
            onnx.save(onnx.parser.parse_model(AFFINE), file)
            conch("publish", str(file), "--name", name)
    return repository


def serving(folder: Path) -> dict[str, float]:
    """A server's start and end, and a call by the client."""
    from clients import connect
    from serving.server.server import Server

    x = {"x": np.ones((1, 4), np.float32)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {}
    with Server(publish(folder), http_port=0, grpc_port=0, metrics_port=0) as server:
        for protocol in ("http", "grpc"):
            with connect(f"{protocol}://{getattr(server, protocol)}") as client:
                client.infer("one", x)
                began = time.perf_counter()
                for _ in range(CALLS):
                    client.infer("one", x)
                found[f"a call over {protocol}"] = (time.perf_counter() - began) / CALLS
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found | {"a server of three models, its start and 800 answers, CPU": cost}


def export(folder: Path) -> dict[str, float]:
    """CPU-seconds of an export with its proof."""
    file = folder / "net.py"
    file.write_text(MODULE)
    words = ("export", "module", f"{file}:net", "--input", "x:float32[batch,16]<-1,1>", "--name", "net")
    return {"export of a module, proven, CPU": conch(*words)}


def training(folder: Path) -> dict[str, float]:
    """CPU-seconds of an epoch of LeNet at a batch size that the loop's own work is felt at."""
    from training.data.images import Images
    from training.loop.epochs import run_epochs
    from training.recipes.cnn import CNN

    count = 32 * 150
    pixels = np.random.default_rng(0).integers(0, 256, (count + 10, 28, 28, 1), dtype=np.uint8)
    labels = np.arange(count + 10) % 10
    data = Images("random", pixels[10:], labels[10:], pixels[:10], labels[:10], tuple("0123456789"))
    rate = run_epochs(CNN(batch_size=32, epochs=2), data, folder / "state", "bench", resume=False).examples_per_second
    assert rate
    return {"a step of LeNet, batch 32": 32 / rate}


GROUPS: dict[str, Callable[[Path], dict[str, float]]] = {
    function.__name__: function for function in (start, serving, export, training)
}

if __name__ == "__main__":
    group, where = sys.argv[1], Path(sys.argv[2])
    where.mkdir(parents=True, exist_ok=True)
    os.environ["CONCH_ARTIFACTS"] = str(where)
    answers = os.dup(1)
    os.dup2(2, 1)  # what is said meanwhile is no answer
    os.write(answers, json.dumps(GROUPS[group](where)).encode())
