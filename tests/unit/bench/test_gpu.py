"""`make bench-gpu` without a GPU: what it counts, what it refuses, what its page says; nvidia-smi is a script."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch.contracts.errors import ConchError
from serving.repository.configuration import parse, render
from tests.bench.gpu import device, results
from tests.bench.gpu.__main__ import PAGE, Refused, Settings, check
from tests.bench.gpu.arithmetic import count
from tests.bench.gpu.contender import providers
from tests.bench.gpu.floors import floor_checks
from tests.bench.gpu.limits import limit
from tests.bench.gpu.over_the_wire import place
from tests.bench.gpu.plan import (
    BATCHES,
    COMPILED,
    CONCURRENCY,
    CONTENDERS,
    CUDA,
    GRAPHS,
    GRPC,
    MODELS,
    NHWC,
    ORT,
    PRECISIONS,
    TRANSPORTS,
    InProcess,
    OverTheWire,
    in_process,
    over_the_wire,
)
from tests.bench.gpu.report import report
from tests.bench.gpu.resnet50 import ResNet50
from tests.bench.gpu.subjects import wrong
from training.recipe import Served, Tensor

PEAKS = {"flops_fp32": 50e12, "flops_fp16": 800e12, "bytes": 4e12}
ITEM = {"flops": 8_000_000_000, "elements": 20_000_000, "weights": 25_000_000}


def test_resnet50_is_the_network_of_the_paper() -> None:
    """25.6 million weights; 4.09 billion multiplications and additions with the stride on the 3x3 (v1.5)."""
    with torch.device("meta"):
        module = ResNet50().eval()
        assert sum(parameter.numel() for parameter in module.parameters()) == 25_557_032
        with FlopCounterMode(display=False) as counter:
            answer = module(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    assert answer.shape == (1, 1000)
    assert counter.get_total_flops() / 2 == pytest.approx(4.09e9, rel=0.001)


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.lstm(x)[0]))


def test_operations_and_bytes_are_counted() -> None:
    """An LSTM of 3 to 5 over 2 steps, then 5 to 7 at each: four gates, each of an input and a state."""
    tensors = Tensor("x", "float32", ("batch", 2, 3)), Tensor("y", "float32", ("batch", 2, 7))
    served = Served(
        "small", _Small().eval(), tensors[:1], tensors[1:], {"x": np.ones((1, 2, 3), np.float32)}
    )  # fmt: skip
    found = count(served)
    assert found["flops"] == 2 * 2 * (3 * 20 + 5 * 20 + 5 * 7)
    assert found["weights"] == (3 + 5) * 20 + 40 + 5 * 7 + 7
    assert found["elements"] >= 2 * (3 + 5 + 2 * 20 + 5 + 7)


def test_the_limit_is_the_slower_of_arithmetic_and_memory() -> None:
    large, small = limit(ITEM, "fp32", 128, PEAKS), limit(ITEM, "fp16", 1, PEAKS)
    assert (large.bound, large.ms) == ("arithmetic", pytest.approx(8e9 * 128 / 50e12 * 1000))
    assert (small.bound, small.ms) == ("memory", pytest.approx(45e6 * 2 / 4e12 * 1000))


def test_wrong_answers_are_seen() -> None:
    right = {"y": np.array([[0.0, 1.0], [1.0, 0.0]])}
    assert not wrong({"y": np.array([[0.01, 0.99]])}, right)
    assert "off by 1" in wrong({"y": np.array([[1.0, 1.0]])}, right)
    assert "shape" in wrong({"y": np.zeros((1, 3))}, right)
    assert "off by nan" in wrong({"y": np.full((1, 2), np.nan)}, right)


def test_graphs_and_layout_are_asked_for_where_named() -> None:
    options = {name: providers(name, "cuda")[0][1] for name in (ORT, GRAPHS, NHWC)}
    found = {name: (one["enable_cuda_graph"], one["prefer_nhwc"], one["use_tf32"]) for name, one in options.items()}
    assert found == {ORT: ("0", "0", "0"), GRAPHS: ("1", "0", "0"), NHWC: ("1", "1", "0")}


def cells(graphs: float, compiled: float, served: float) -> dict[str, dict[str, Any]]:
    """Everything measured; ONNX Runtime with graphs, torch.compile, and what is served, as told."""

    def timing(ms: float) -> dict[str, float]:
        return {"median": ms, "low": ms * 0.9, "high": ms * 1.1}

    found: dict[str, dict[str, Any]] = {}
    for cell in in_process(list(MODELS), list(PRECISIONS), list(BATCHES)):
        ms = {name: timing(9.0) for name in CONTENDERS} | {GRAPHS: timing(graphs), COMPILED: timing(compiled)}
        del ms[NHWC]
        found[cell.key] = {"ms": ms, "why": {NHWC: "no kernel"}, "date": "2026-11-21"}
        if cell.batch == BATCHES[-1]:
            use = {"utilization.gpu": 97.0, "power.draw": 500.0, "memory.used": 4000.0, "clocks.sm": 1900.0}
            found[cell.key] |= {"use": dict.fromkeys(ms, use), "memory": dict.fromkeys(ms, 3 << 30)}
    for other in over_the_wire(list(MODELS), list(PRECISIONS), list(CONCURRENCY)):
        found[other.key] = {"rate": served, "p50_ms": 1.0, "p99_ms": 2.0, "use": {}, "date": "2026-11-20"}
        if other.transport == CUDA:
            found[other.key] = {"why": "no memory", "date": "2026-11-20"}
    return found


@pytest.mark.parametrize(
    ("measured", "met"),
    [(cells(1.0, 1.0, 0.8 * 32_000), 13 + 6), (cells(1.001, 1.0, 0.8 * 32_000), 6), (cells(1.0, 1.0, 25_599), 13)],
)
def test_floors(measured: dict[str, dict[str, Any]], met: int) -> None:
    """In process batch 32 in 1 ms is the most below 64 callers; CUDA shared memory was not measured."""
    found = floor_checks(measured)
    assert [one.met for one in found].count(None) == len(PRECISIONS)
    assert sum(bool(one.met) for one in found) == met


def test_a_floor_of_what_was_not_measured_is_not_met() -> None:
    assert {one.met for one in floor_checks({})} == {None}
    whole = cells(1.0, 2.0, 1e6)
    del whole[InProcess("cnn", "fp32", 1).key]["ms"][COMPILED]
    assert floor_checks(whole)[0].met is None


MACHINE = {
    "gpu": dict.fromkeys(device.IDENTITY, "1") | {"name": "NVIDIA X"},
    "processor": "Intel", "versions": {"torch": "2"}, "commit": "abc",
}  # fmt: skip


def test_the_page_has_every_cell() -> None:
    kept = results.Results(Path(), MACHINE, PEAKS, {model: {"item": ITEM} for model in MODELS}, cells(1.0, 2.0, 30_000))
    page = report(kept)
    assert "NVIDIA X" in page
    assert "2026-11-20 to 2026-11-21" in page
    assert "No figure" not in page
    assert "not measured |" not in page.replace("- | not measured", "")
    assert page.count("**1.000** (0.200)") == len(MODELS) * len(PRECISIONS) * len(BATCHES)
    assert page.count("30,000 (2.0)") == len(MODELS) * len(PRECISIONS) * len(CONCURRENCY) * (len(TRANSPORTS) - 1)
    assert "ONNX Runtime, CUDA graphs, NHWC: no figure, batch 128: no kernel" in page
    assert "| resnet50, fp16, batch 128 | ONNX Runtime | 97 % | 500 W | 1900 MHz | 3,072 MiB |" in page


def test_the_page_without_a_figure_says_so_and_is_the_one_in_docs_unless_there_are_figures() -> None:
    page = report(results.Results(Path()))
    assert "No figure was measured yet" in page
    kept = (Path(__file__).parents[3] / PAGE).read_text()
    assert kept == page or "No figure was measured yet" not in kept


def test_results_add_up_and_only_on_one_machine(tmp_path: Path) -> None:
    file = tmp_path / "bench-gpu" / "results.json"
    kept = results.read(file)
    kept.machine = MACHINE
    kept.keep("a", {"rate": 1.0})
    again = results.read(file)
    again.keep("b", {"rate": 2.0})
    assert set(results.read(file).cells) == {"a", "b"}
    results.check_same(again, MACHINE | {"commit": "def"})
    with pytest.raises(ConchError, match="another versions"):
        results.check_same(again, MACHINE | {"versions": {"torch": "3"}})
    # As it was written before: without `format`, and with another indentation.
    before = json.loads(file.read_text())
    del before["format"]
    file.write_text(json.dumps(before, indent=1))
    assert results.read(file) == again
    file.write_text("{")
    with pytest.raises(ConchError, match=r"delete it and make it again: python -m tests\.bench\.gpu$"):
        results.read(file)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"models": ["vgg"]}, "--models vgg: there are cnn"),
        ({"batches": [2]}, "--batches 2: there are 1, 8"),
        ({"precisions": []}, "--precisions must not be empty"),
        ({"minutes": 0.0}, "--minutes 0"),
        ({"contenders": [ORT]}, "--contenders is for --dry-run"),
    ],
)
def test_settings_that_are_not_on_the_page_are_refused(changed: dict[str, Any], named: str) -> None:
    check(Settings())
    with pytest.raises(Refused, match=named):
        check(Settings(**changed))


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script in its place that answers as nvidia-smi does, in a loop where it is asked to."""
    script = tmp_path / "nvidia-smi"
    script.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '  *--loop-ms*) while :; do echo "97, 1024, [N/A], 1980"; sleep 0.02; done ;;\n'
        '  *memory.used*) echo "2048" ;;\n'
        '  *) echo "NVIDIA X, 580.1, 143771, 700.00, 1980, 9.0" ;;\n'
        "esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_nvidia_smi_is_read(nvidia_smi: None) -> None:
    assert device.memory_used() == 2 << 30
    with device.watched() as use:
        time.sleep(0.3)
    assert use.summary() == {"utilization.gpu": 97, "memory.used": 1024, "clocks.sm": 1980}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_driver_alone_is_no_gpu(nvidia_smi: None) -> None:
    with pytest.raises(device.NoGPU, match="sees no GPU"):
        device.find_gpu()


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(device.NoGPU, match="no nvidia-smi"):
        device.find_gpu()


@pytest.mark.parametrize(("size", "graphs"), [(28, True), (-1, False)])
def test_a_served_model_is_placed_on_the_gpu_with_graphs_where_its_shape_is_fixed(
    tmp_path: Path, size: int, graphs: bool
) -> None:
    file = tmp_path / "config.pbtxt"
    config = ModelConfig(name="m", max_batch_size=8)
    config.input.add(name="x", dims=[size, 3])
    config.instance_group.add(count=2)
    for name, kind, on in (("cuda", config.instance_group[0].KIND_GPU, graphs),
                           ("cpu", config.instance_group[0].KIND_CPU, False)):  # fmt: skip
        file.write_text(render(config))
        place(file, name)
        placed = parse(file.read_text())
        assert (placed.instance_group[0].kind, placed.optimization.cuda.graphs) == (kind, on)


def test_cells_have_names_of_their_own() -> None:
    names = [cell.key for cell in in_process(list(MODELS), list(PRECISIONS), list(BATCHES))]
    names += [cell.key for cell in over_the_wire(list(MODELS), list(PRECISIONS), list(CONCURRENCY))]
    assert len(set(names)) == len(names) == 48 + 192
    assert OverTheWire("resnet50", "fp16", GRPC, 64).key in names
    json.dumps(names)
