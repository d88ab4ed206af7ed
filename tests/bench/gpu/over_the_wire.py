"""The second part: one model in one precision on a server of its own, asked over every transport."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from serving.repository.configuration import parse, render
from serving.server.server import Server
from tests.bench.gpu.callers import NoLoad, crowd
from tests.bench.gpu.device import watched
from tests.bench.gpu.plan import HTTP, OverTheWire

WARM_SECONDS, CELL_SECONDS, ROUNDS = {"cuda": 0.5, "cpu": 0.05}, {"cuda": 1.5, "cpu": 0.2}, {"cuda": 3, "cpu": 1}


def measure(cells: Sequence[OverTheWire], device: str, folder: Path) -> Generator[tuple[OverTheWire, dict[str, Any]]]:
    """Cells of one model and precision, each with its result as it is measured.

    A result has the requests answered in a second (`rate`, with the quartiles `low` and `high` of the rounds), `p50_ms`
    and `p99_ms`, and on a GPU its `use`; or `why` it has none.

    Raises:
        ServingError: the server does not start.
    """
    name = f"{cells[0].model}_{cells[0].precision}"
    with tempfile.TemporaryDirectory(prefix="conch-bench-") as repository:
        shutil.copytree(folder / "models" / name, Path(repository) / name)
        place(Path(repository) / name / "config.pbtxt", device)
        with Server(Path(repository), http_port=0, grpc_port=0, metrics_port=0, timeout=300) as server:
            for cell in cells:
                address = server.http if cell.transport == HTTP else server.grpc
                try:
                    yield cell, _measure_cell(cell, device, address, folder, name)
                except NoLoad as reason:
                    server.check_alive()
                    yield cell, {"why": str(reason)}


def place(config_file: Path, device: str) -> None:
    """Put the model's instances on the device; on a GPU with CUDA graphs and inputs where they lie.

    An LSTM takes any length, so it has no graphs: those are for tensors of fixed shape.
    """
    config = parse(config_file.read_text())
    group = config.instance_group[0]
    if device == "cpu":
        group.kind = group.KIND_CPU
    else:
        group.kind = group.KIND_GPU
        config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"
        if all(size > 0 for tensor in (*config.input, *config.output) for size in tensor.dims):
            config.optimization.cuda.graphs = True
    config_file.write_text(render(config))


def _measure_cell(cell: OverTheWire, device: str, address: str, folder: Path, model: str) -> dict[str, Any]:
    with crowd(cell.transport, address, folder, model, cell.concurrency) as callers, contextlib.ExitStack() as stack:
        callers.call(WARM_SECONDS[device])
        use = stack.enter_context(watched()) if device == "cuda" else None
        seen = [callers.call(CELL_SECONDS[device]) for _ in range(ROUNDS[device])]
        stack.close()
        rate, low, high = (float(value) for value in np.percentile([one.requests_per_s for one in seen], (50, 25, 75)))
        return {
            "rate": rate, "low": low, "high": high,
            "p50_ms": median(one.p50_ms for one in seen), "p99_ms": median(one.p99_ms for one in seen),
            **({"use": use.summary()} if use else {}),
        }  # fmt: skip
