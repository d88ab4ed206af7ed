"""A master and its workers, as Locust has them: processes that know of each other by address only."""

import socket
from pathlib import Path

import numpy as np
import pytest

from serving.server.server import Server
from tests.support.loads import ended, golden_of, result, start

RATE = 80


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port: int = own.getsockname()[1]
        return port


def test_a_master_and_two_workers_divide_the_rate_and_merge_without_loss(
    triton: Server, artifacts: Path, tmp_path: Path
) -> None:
    """Each worker has a folder, golden answers and a connection of its own, as on a machine of its own. The master's
    golden answers are wrong: a worker that took them for its own would find every answer wrong."""
    folder, port = tmp_path / "merged", str(free_port())
    masters = tmp_path / "master" / "models" / "cnn" / "1"
    masters.mkdir(parents=True)
    with np.load(artifacts / "models" / "cnn" / "1" / "golden.npz") as file:
        np.savez(masters / "golden.npz", **{name: np.zeros_like(array) for name, array in file.items()})
    file = ("-f", "tests/load/locustfile.py")
    master = start(
        triton, tmp_path / "master", *file, "--headless", "-t", "4s", "--warmup", "0",
        "--rate", str(RATE), "--results", str(folder), "--master", "--master-bind-host", "127.0.0.1",
        "--master-bind-port", port, "--expect-workers", "2", "TritonHttpUser", module="locust",
    )  # fmt: skip
    join = ("--worker", "--master-host", "127.0.0.1", "--master-port", port)
    workers = []
    for name in ("first", "second"):
        own = golden_of(artifacts, tmp_path / name, "cnn")
        # What a worker is told itself does not count: the plan is the master's.
        flags = (*file, *join, "--rate", "1", "--artifacts", str(own), "TritonHttpUser")
        workers.append(start(triton, own, *flags, module="locust"))
    code, text, run = result(master, folder)
    assert code in (0, 2), text  # 2 where a busy machine made a worker late, or too few requests for a p99
    for worker in workers:
        left, words = ended(worker)
        assert left in (0, None) or "quit" in words.lower(), words
    assert run["generator"]["processes"] == 2, text
    assert run["requests"] == run["generator"]["scheduled"] == sum(count for _, count in run["histogram"])
    assert sum(second["requests"] for second in run["series"]) == run["requests"]
    assert run["failures"] == 0, text
    # The rate is divided: both at the whole rate would make twice as many; five standard deviations of 320 are 90.
    assert RATE * 4 * 0.65 < run["requests"] < RATE * 4 * 1.4
    # Locust's own table, summed by its master, and what the workers' histograms say.
    rows = (folder / "locust_stats.csv").read_text().splitlines()
    columns = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert int(columns["Request Count"]) == run["requests"]
    assert float(columns["50%"]) == pytest.approx(run["latency_ms"]["p50"], abs=1e-4)
    assert float(columns["95%"]) == pytest.approx(run["latency_ms"]["p95"], abs=1e-4)
