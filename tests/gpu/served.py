"""What a live server answers whose models run on a device; the device may be the CPU."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from clients import connect
from conch.report.score import score_one, score_others
from loadtest.golden import load_golden
from serving.kserve.placement import placements
from serving.repository.configuration import parse, render
from serving.server.server import Server
from tests.bench.gpu.device import memory_used
from tests.bench.gpu.over_the_wire import place
from tests.bench.serving.contenders import infer_call, read_subjects
from tests.bench.serving.memory import Sizes, resident
from tests.bench.serving.wrk import Call, Sample, drive
from tests.live.test_lstm_stream import interleave

INSTANCES = 2
LARGEST = 32
CALLERS = 6
SIZES_AT_ONCE, CONNECTIONS = 4, 4
Driver = Callable[[Call, int, int], Sample]


@contextlib.contextmanager
def serving(models: Sequence[str], source: Path, folder: Path, device: str, graphs: bool = False) -> Iterator[Server]:
    """A server of copies of published models, `INSTANCES` of each on the device; on a GPU with CUDA graphs if asked.

    Raises:
        AssertionError: an instance runs elsewhere, by what its backend says of its session.
    """
    for model in models:
        shutil.copytree(source / model, folder / model)
        config_file = folder / model / "config.pbtxt"
        config = parse(config_file.read_text())
        del config.instance_group[:]
        group = config.instance_group.add(count=INSTANCES)
        group.kind = group.KIND_GPU if device == "cuda" else group.KIND_CPU
        config_file.write_text(render(config))
        if graphs:
            place(config_file, device)
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    with Server(folder, http_port=0, grpc_port=0, metrics_port=0, timeout=300) as server:
        found = {name: pairs for (name, _), pairs in (placements(server.metrics) or {}).items()}
        assert {name: {has for has, _ in pairs} for name, pairs in found.items()} == {m: {provider} for m in models}
        yield server


def score_differences(server: Server, recipe: str, protocol: str = "grpc") -> list[str]:
    """Where the score through the server is not the published one, a sentence each; sequences are scored too."""
    address = server.http if protocol == "http" else server.grpc
    with connect(address, protocol) as client:  # type: ignore[arg-type]
        results = [score_one(client, recipe), *score_others(client, recipe)]
    return [difference for result in results for difference in result["differences"]]


def golden_under_load(server: Server, artifacts: Path, models: Sequence[str], seconds: float) -> dict[int, int]:
    """Call all models at once with batches of mixed sizes for so long, every answer compared; the calls by size.

    Raises:
        AssertionError: an answer is not the golden one.
    """
    counts: dict[int, int] = {}

    def ask(number: int) -> list[int]:
        chosen, sizes = random.Random(number), []
        deadline = time.monotonic() + seconds
        protocol = ("http", "grpc")[number % 2]
        with connect(server.http if protocol == "http" else server.grpc, protocol) as client:  # type: ignore[arg-type]
            while time.monotonic() < deadline:
                golden = load_golden(artifacts, chosen.choice(models))
                sizes.append(chosen.randint(1, LARGEST))
                items = chosen.choices(range(len(golden)), k=sizes[-1])
                got = client.infer(golden.model, golden.questions(items))
                for name, right in golden.answers(items).items():
                    absolute, relative = golden.tolerance.get(right.dtype.name, (0.0, 0.0))
                    fits = np.isclose(got[name].astype(float), right.astype(float), relative, absolute).all()
                    assert fits, f"{golden.model}, {name}, items {items}: not the golden answer"
        return sizes

    with ThreadPoolExecutor(CALLERS) as pool:
        for sizes in pool.map(ask, range(CALLERS)):
            for size in sizes:
                counts[size] = counts.get(size, 0) + 1
    return counts


def sequence_error(server: Server, texts: int, characters: int) -> float:
    """Interleaved sequences of lstm_stream against lstm for each prefix: the largest error as share of the allowed."""
    with connect(server.grpc, "grpc") as client:
        vocabulary = client.metadata("lstm").outputs[0].shape[-1]
        tokens = np.random.default_rng(0).integers(0, vocabulary, (texts, characters))
        parts = [client.infer("lstm", {"tokens": part})["probabilities"] for part in np.array_split(tokens, 10)]
    expected = np.concatenate(parts)
    got = interleave(server, "lstm_stream", tokens, seed=1, vocabulary=vocabulary)
    return float(np.max(np.abs(got - expected) / (1e-5 + 1e-4 * np.abs(expected))))


def busy_instances(server: Server, artifacts: Path, model: str, seconds: float) -> int:
    """How many of a server's instances worked while it was called: the backend's processes that took processor time."""

    def used() -> dict[int, float]:
        children = psutil.Process(server.pid).children(recursive=True)
        stubs = [child for child in children if "stub" in child.name()]
        return {stub.pid: stub.cpu_times().user + stub.cpu_times().system for stub in stubs}

    before = used()
    golden_under_load(server, artifacts, [model], seconds)
    return sum(after > before.get(pid, after) for pid, after in used().items())


def memory_over(
    server: Server, repository: Path, requests: int, settled: int, device: str, driver: Driver = drive
) -> list[tuple[int, Sizes]]:
    """The size of the server's processes and of what the GPU holds, as requests of mixed batch sizes are answered.

    Args:
        settled: requests after which arenas and pools have their size; the first point but one.
        driver: sends one call over and over; wrk, unless told otherwise.
    """
    (subject,) = read_subjects(repository, ["cnn"])
    chosen = random.Random(0)

    def sizes() -> Sizes:
        return {**resident(server.pid), **({"GPU": memory_used()} if device == "cuda" else {})}

    points, done = [(0, sizes())], 0
    with ThreadPoolExecutor(SIZES_AT_ONCE) as pool:
        while done < requests:
            calls = [
                infer_call(server.http, replace(subject, image=np.repeat(subject.image, size, axis=0)))
                for size in chosen.sample(range(1, LARGEST + 1), SIZES_AT_ONCE)
            ]
            rates = pool.map(lambda call: driver(call, CONNECTIONS, 1).requests_per_s, calls)
            done += round(sum(rates))
            if done >= settled:
                points.append((done, sizes()))
    return points
