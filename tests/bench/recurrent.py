"""How fast an LSTM can be in ONNX Runtime: its operator, a Scan, and the matrix products that no way can do without.

    python -m tests.bench.recurrent      (a minute)

A layer of the demo's `lstm`, one thread, in turn; the time is that of the thread, so that others on the machine count
little. Writes the section "recurrent" of docs/benchmarks.md.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from conch.command_line import ERR, OUT
from conch.contracts.fingerprint import package_versions
from tests.bench.machine import describe_machine
from tests.bench.sections import write_section

STEPS, BATCH, WIDTH = 64, 32, 192
"""As the demo's `lstm` is asked."""
ROUNDS = 25
WANTED = 1.2
OPERATOR, SCAN, PRODUCTS, EAGER = "LSTM operator", "Scan of a MatMul cell", "matrix products alone", "PyTorch eager"

Weights = dict[str, np.ndarray]


def main() -> None:
    """Check that all compute the same, measure, and write."""
    numbers = np.random.default_rng(0)
    weights = {
        "W": numbers.standard_normal((4 * WIDTH, WIDTH)), "R": numbers.standard_normal((4 * WIDTH, WIDTH)),
        "B": numbers.standard_normal(8 * WIDTH),
    }  # fmt: skip
    weights = {name: (array / np.sqrt(WIDTH)).astype(np.float32) for name, array in weights.items()}
    x = numbers.standard_normal((STEPS, BATCH, WIDTH), np.float32)
    runs = contenders(weights, x)
    largest = max(float(np.abs(runs[OPERATOR]() - runs[other]()).max()) for other in (SCAN, EAGER))
    assert largest < 1e-4, f"they do not compute the same: {largest}"
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS):
        ERR.print(f"round {number + 1} of {ROUNDS}", style="dim", highlight=False)
        for name, run in runs.items():
            began = time.thread_time()
            run()
            times[name].append((time.thread_time() - began) * 1000)
    text = section({name: statistics.median(found) for name, found in times.items()})
    write_section(Path("docs/benchmarks.md"), "recurrent", text)
    OUT.print(text, markup=False, highlight=False, soft_wrap=True)


def contenders(weights: Weights, x: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """By name a run over x [steps, batch, width]; each gives [steps, batch, width] but `PRODUCTS`."""
    torch.set_num_threads(1)
    eager, given = _eager(weights), torch.from_numpy(x)
    zeros = np.zeros((BATCH, WIDTH), np.float32)
    operator, scan, products = (_session(make(weights)) for make in (operator_graph, scan_graph, products_graph))

    def of_torch() -> np.ndarray:
        with torch.inference_mode():
            answer: np.ndarray = eager(given)[0].numpy()
        return answer

    return {
        OPERATOR: lambda: operator.run(None, {"x": x})[0][:, 0],
        SCAN: lambda: scan.run(["y"], {"x": x, "zeros": zeros})[0],
        PRODUCTS: lambda: products.run(None, {"x": x, "zeros": zeros})[0],
        EAGER: of_torch,
    }


def operator_graph(weights: Weights) -> onnx.ModelProto:
    """ONNX's own LSTM."""
    node = helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=WIDTH)
    return _model([node], {name: array[np.newaxis] for name, array in weights.items()}, ["y"])


def scan_graph(weights: Weights) -> onnx.ModelProto:
    """The products of all inputs at once, then a step at a time: gates in ONNX's order, input, output, forget, cell."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "Rt"], ["recurrent"]),
            helper.make_node("Add", ["recurrent", "given"], ["gates"]),
            helper.make_node("Split", ["gates", "three_and_one"], ["open", "cell"], axis=1),
            helper.make_node("Sigmoid", ["open"], ["opened"]),
            helper.make_node("Split", ["opened", "each"], ["input", "output", "forget"], axis=1),
            helper.make_node("Tanh", ["cell"], ["candidate"]),
            helper.make_node("Mul", ["forget", "c"], ["kept"]),
            helper.make_node("Mul", ["input", "candidate"], ["added"]),
            helper.make_node("Add", ["kept", "added"], ["next_c"]),
            helper.make_node("Tanh", ["next_c"], ["shown"]),
            helper.make_node("Mul", ["output", "shown"], ["next_h"]),
            helper.make_node("Identity", ["next_h"], ["step"]),
        ],
        "cell",
        [_float("h", [BATCH, WIDTH]), _float("c", [BATCH, WIDTH]), _float("given", [BATCH, 4 * WIDTH])],
        [_float(name, [BATCH, WIDTH]) for name in ("next_h", "next_c", "step")],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "Wt"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["all"]),
        helper.make_node("Scan", ["zeros", "zeros", "all"], ["last_h", "last_c", "y"], body=body, num_scan_inputs=1),
    ]
    splits = {"three_and_one": np.array([3 * WIDTH, WIDTH]), "each": np.array([WIDTH] * 3)}
    return _model(nodes, _transposed(weights) | splits, ["y"], "zeros")


def products_graph(weights: Weights) -> onnx.ModelProto:
    """The same matrix products and nothing else: what is computed of a step does not wait for the one before."""
    steps = [f"product_{step}" for step in range(STEPS)]
    nodes = [
        helper.make_node("MatMul", ["x", "Wt"], ["products"]),
        *(helper.make_node("MatMul", ["zeros", "Rt" if number % 2 else "Rt2"], [name])
          for number, name in enumerate(steps)),
    ]  # fmt: skip
    arrays = _transposed(weights)
    del arrays["bias"]
    return _model(nodes, arrays | {"Rt2": arrays["Rt"].copy()}, ["products", *steps], "zeros")


def section(milliseconds: dict[str, float]) -> str:
    """As Markdown, from the medians."""
    versions = package_versions("torch", "onnxruntime")
    bound = milliseconds[EAGER] / milliseconds[PRODUCTS]
    verdict = f"below the {WANTED}" if bound < WANTED else f"above the {WANTED}"
    lines = [
        "## An LSTM layer: the operator and its bound",
        "",
        f"`python -m tests.bench.recurrent`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}; torch "
        f"{versions['torch']}, onnxruntime {versions['onnxruntime']}. {STEPS} steps, batch {BATCH}, width {WIDTH}, "
        f"float32, 1 thread; medians of {ROUNDS} alternating rounds.",
        "",
        "| | ms | of PyTorch's speed |",
        "|---|---:|---:|",
    ]
    for name, found in milliseconds.items():
        lines.append(f"| {name} | {found:.2f} | {milliseconds[EAGER] / found:.2f} |")
    lines += [
        "",
        f"The matrix products alone would be {bound:.2f} times as fast as PyTorch with everything: no graph in float32 "
        f"can be faster than that, and it is {verdict} that were wanted. ONNX Runtime has no kernel for an LSTM in "
        "bfloat16 on the CPU; int8 is the table of precisions.",
    ]
    return "\n".join(lines)


def _eager(weights: Weights) -> torch.nn.LSTM:
    """PyTorch's layer: its gates are input, forget, cell, output."""
    layer = torch.nn.LSTM(WIDTH, WIDTH)
    first, second = np.split(weights["B"], 2)
    arrays = {"weight_ih_l0": weights["W"], "weight_hh_l0": weights["R"], "bias_ih_l0": first, "bias_hh_l0": second}
    with torch.no_grad():
        for name, array in arrays.items():
            given, output, forget, cell = np.split(array, 4)
            getattr(layer, name).copy_(torch.from_numpy(np.concatenate([given, forget, cell, output])))
    return layer


def _transposed(weights: Weights) -> Weights:
    first, second = np.split(weights["B"], 2)
    transposed = {f"{name}t": np.ascontiguousarray(weights[name].T) for name in ("W", "R")}
    return transposed | {"bias": first + second}


def _float(name: str, shape: list[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _model(nodes: list[onnx.NodeProto], arrays: Weights, outputs: list[str], *more: str) -> onnx.ModelProto:
    inputs = [_float("x", [STEPS, BATCH, WIDTH]), *(_float(name, [BATCH, WIDTH]) for name in more)]
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "lstm", inputs, [_float(name, None) for name in outputs], initializers)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
