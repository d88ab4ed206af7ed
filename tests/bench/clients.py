"""The client beside tritonclient, and `map` beside wrk: make bench-clients.

Starts a server of its own with small models, lets all have a turn in each round, and writes the marked section of
docs/benchmarks.md. Ratios are of turns of the same round, so that a busy machine falls on both alike. Takes about three
minutes. Exit code 1: a ratio is worse than required. 3: it could not be measured.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from rich.console import Console

from clients import connect, connect_async
from clients.address import Address
from clients.calls import Inference, Sending
from clients.deadline import Deadline
from clients.transports import http_message
from conch.contracts.errors import ConchError
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.bench.machine import describe_machine
from tests.bench.sections import write_section
from tests.bench.serving.wrk import Call, InvalidRound, drive
from tests.bench.verdicts import Verdict, keep
from tests.support import graphs

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
MOST_OVERHEAD, LEAST_OF_WRK = 1.10, 0.9
CONCURRENCY = 16
ROUNDS, LARGE_ROUNDS, MAP_ROUNDS, WRK_SECONDS = 15, 5, 5, 1
BUSY = 0.7
"""The load average above which something else runs on the machine."""

# A network as large as a small picture model, some 17 million multiplications an item.
LAYERS = (
    """
layers (float[batch, 1024] x) => (float[batch, 1024] y)
<int64[2] shape = {1024, 1024}>
{ weight = ConstantOfShape<value = float[1] {0.001}>(shape)
"""
    + "".join(
        f"  {'y' if n == 15 else f'h{n}'} = MatMul({'x' if n == 0 else f'h{n - 1}'}, weight)\n" for n in range(16)
    )
    + "}"
)


@dataclass(frozen=True)
class Work:
    """A request: `calls` of it are a turn."""

    name: str
    model: str
    input: str
    array: np.ndarray
    output: str
    calls: int

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        return {self.input: self.array}


SHARING = "connect, shared memory"
Turn = Callable[[], float]
"""Does one turn and gives the seconds of a call."""


def negated(numbers: int) -> str:
    """A network that does next to nothing with so many numbers."""
    return f"negated (float[batch, {numbers}] x) => (float[batch, {numbers}] y) {{ y = Neg(x) }}"


MEGABYTE, LARGE = 1 << 18, 1 << 24
"""Numbers of 4 bytes: 1 MB and 64 MB."""

WORKS = [
    Work("batch 1", "affine", "x", np.ones((1, 4), np.float32), "doubled", 200),
    Work("batch 32", "affine", "x", np.ones((32, 4), np.float32), "doubled", 200),
    Work("1 MB in, 1 MB out", "megabyte", "x", np.ones((1, MEGABYTE), np.float32), "y", 20),
    Work("64 MB in, 64 MB out", "large", "x", np.ones((1, LARGE), np.float32), "y", 1),
]
MODELS = {
    "affine": (graphs.AFFINE, 32),
    "layers": (LAYERS, 32),
    "megabyte": (negated(MEGABYTE), 1),
    "large": (negated(LARGE), 1),
}
"""Graph and largest batch of each."""
STREAMS = [
    Work(f"batch {batch}", "layers", "x", np.ones((batch, 1024), np.float32), "y", calls)
    for batch, calls in ((1, 1500), (8, 500), (32, 150))
]


def repeated(call: Callable[[], Any], calls: int) -> Turn:
    """A turn of a blocking call."""

    def turn() -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begun) / calls

    return turn


def repeated_on(loop: asyncio.AbstractEventLoop, call: Callable[[], Any], calls: int) -> Turn:
    """A turn of an asyncio call, one after the other."""

    async def turn() -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            await call()
        return (time.perf_counter() - begun) / calls

    return lambda: loop.run_until_complete(turn())


class Callers:
    """All clients of one server, each with one connection of its own."""

    def __init__(self, server: Server) -> None:
        self.loop = asyncio.new_event_loop()
        urls = {protocol: f"{protocol}://{getattr(server, protocol)}" for protocol in ("http", "grpc")}
        self.blocking = {protocol: connect(url, timeout=300) for protocol, url in urls.items()}
        self.sharing = {protocol: connect(url, timeout=300, shared_memory=True) for protocol, url in urls.items()}
        self.asynchronous = {protocol: connect_async(url, timeout=300) for protocol, url in urls.items()}
        self.modules: dict[str, tuple[Any, Any, Any]] = {
            "http": (
                tritonclient.http,
                tritonclient.http.InferenceServerClient(server.http, network_timeout=300),
                None,
            ),
            "grpc": (tritonclient.grpc, tritonclient.grpc.InferenceServerClient(server.grpc), None),
        }
        self.loop.run_until_complete(self._open(server))

    async def _open(self, server: Server) -> None:
        http = tritonclient.http.aio.InferenceServerClient(server.http, conn_timeout=300)
        grpc = tritonclient.grpc.aio.InferenceServerClient(server.grpc)
        for protocol, made in (("http", http), ("grpc", grpc)):
            module, blocking, _ = self.modules[protocol]
            self.modules[protocol] = module, blocking, made

    def close(self) -> None:
        for client in (*self.blocking.values(), *self.sharing.values()):
            client.close()
        for _, blocking, made in self.modules.values():
            blocking.close()
            self.loop.run_until_complete(made.close())
        for asynchronous in self.asynchronous.values():
            self.loop.run_until_complete(asynchronous.close())
        self.loop.close()

    def turns(self, protocol: str, work: Work) -> dict[str, Turn]:
        """By contender: tritonclient and ours, blocking, blocking with shared memory, and with asyncio."""
        module, blocking, asynchronous = self.modules[protocol]
        ours, sharing, ours_async = self.blocking[protocol], self.sharing[protocol], self.asynchronous[protocol]

        def prepared() -> tuple[Any, Any]:
            tensor = module.InferInput(work.input, work.array.shape, "FP32")
            tensor.set_data_from_numpy(work.array)
            return [tensor], [module.InferRequestedOutput(work.output)]

        def bare() -> Any:
            inputs, outputs = prepared()
            return blocking.infer(work.model, inputs, outputs=outputs).as_numpy(work.output)

        async def bare_async() -> Any:
            inputs, outputs = prepared()
            return (await asynchronous.infer(work.model, inputs, outputs=outputs)).as_numpy(work.output)

        return {
            "tritonclient": repeated(bare, work.calls),
            "connect": repeated(lambda: ours.infer(work.model, work.inputs, [work.output]), work.calls),
            SHARING: repeated(lambda: sharing.infer(work.model, work.inputs, [work.output]), work.calls),
            "tritonclient aio": repeated_on(self.loop, bare_async, work.calls),
            "connect_async": repeated_on(
                self.loop, lambda: ours_async.infer(work.model, work.inputs, [work.output]), work.calls
            ),
        }

    def maps(self, work: Work) -> dict[str, Callable[[], float]]:
        """Requests a second, by contender."""

        def items() -> Iterator[dict[str, np.ndarray]]:
            return (work.inputs for _ in range(work.calls))

        def blocking(protocol: str) -> float:
            begun = time.perf_counter()
            for _ in self.blocking[protocol].map(work.model, items(), concurrency=CONCURRENCY):
                pass
            return work.calls / (time.perf_counter() - begun)

        def asynchronous(protocol: str) -> float:
            async def main() -> None:
                async for _ in self.asynchronous[protocol].map(work.model, items(), concurrency=CONCURRENCY):
                    pass

            begun = time.perf_counter()
            self.loop.run_until_complete(main())
            return work.calls / (time.perf_counter() - begun)

        return {
            "map, HTTP": lambda: blocking("http"),
            "map, gRPC": lambda: blocking("grpc"),
            "asyncio map, HTTP": lambda: asynchronous("http"),
            "asyncio map, gRPC": lambda: asynchronous("grpc"),
        }


def wrk_of(server: Server, work: Work) -> Callable[[], float]:
    """Requests a second of wrk, with the bytes that the client sends."""
    request = Inference(work.model, "", work.inputs, {work.output: 0})
    sent = http_message.written(Sending(Address("http", server.http), request, Deadline(300)))
    call = Call(f"http://{server.http}{sent.path}", sent.body or b"", sent.headers)
    return lambda: drive(call, CONCURRENCY, WRK_SECONDS).requests_per_s


def alternating(turns: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """What each gave in each round, of which the first contender changes; a turn before is not counted."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for turn in turns.values():
        turn()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(turns[name]())
    return {name: np.array(values) for name, values in found.items()}


@dataclass(frozen=True)
class Row:
    """A contender beside the one it is judged by: medians, and the ratio of rounds with its quartiles."""

    cells: tuple[str, ...]
    other: float
    own: float
    ratio: tuple[float, float, float]

    @classmethod
    def of(cls, cells: tuple[str, ...], other: np.ndarray, own: np.ndarray) -> "Row":
        low, middle, high = np.percentile(own / other, (25, 50, 75))
        return cls(cells, float(np.median(other)), float(np.median(own)), (float(low), float(middle), float(high)))

    def verdict(self, required: str, met: bool) -> Verdict:
        return Verdict(", ".join(self.cells), required, f"{self.ratio[1]:.2f}", met)

    def markdown(self, form: str, required: str, met: bool) -> str:
        low, middle, high = self.ratio
        values = [
            *self.cells,
            form.format(self.other),
            form.format(self.own),
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
        ]
        return f"| {' | '.join([*values, required, 'met' if met else 'missed' if required != '-' else ''])} |"


def publish_models(folder: Path, repository: Path) -> None:
    """All models; those with large inputs are tried on the largest that the works have."""
    given = {work.model: work for work in WORKS}
    for name, (graph, most) in MODELS.items():
        inputs = None
        if most == 1:
            inputs = folder / f"{name}.npz"
            np.savez(inputs, **given[name].inputs)
        publish_file(graphs.write(graph, folder / f"{name}.onnx"), name, repository, max_batch=most, inputs_from=inputs)


def main() -> int:
    """Measure and write; the exit code."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    load = os.getloadavg()[0]
    if (
        os.environ.get("GRPC_ENABLE_FORK_SUPPORT") != "0"
    ):  # gRPC's own fork handlers break its poller when wrk is started
        console.print("error: run it as make bench-clients, or with GRPC_ENABLE_FORK_SUPPORT=0")
        return 3
    try:
        with tempfile.TemporaryDirectory() as folder:
            models = Path(folder) / "models"
            publish_models(Path(folder), models)
            with Server(models, http_port=0, grpc_port=0, metrics_port=0) as server:
                calls, maps = measured(server, console.print)
    except (ConchError, InvalidRound) as error:
        console.print(f"error: {error}", markup=False)
        return 3
    text, verdicts = section(calls, maps, load)
    write_section(PAGE, "clients", text)
    keep("clients", verdicts)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    return 0 if all(verdict.met for verdict in verdicts) else 1


def measured(server: Server, tell: Callable[[str], None]) -> tuple[list[Row], list[Row]]:
    """Single calls, and streams."""
    callers, calls, maps = Callers(server), [], []
    try:
        for protocol, name in (("http", "HTTP"), ("grpc", "gRPC")):
            for work in WORKS:
                tell(f"{name}, {work.name}")
                found = alternating(callers.turns(protocol, work), ROUNDS if work.calls > 1 else LARGE_ROUNDS)
                for bare, own in (
                    ("tritonclient", "connect"),
                    ("tritonclient", SHARING),
                    ("tritonclient aio", "connect_async"),
                ):
                    calls.append(Row.of((f"{name}, {work.name}", bare, own), found[bare] * 1e3, found[own] * 1e3))
        if shutil.which("wrk"):
            for work in STREAMS:
                tell(f"map, {work.name}")
                found = alternating({"wrk": wrk_of(server, work), **callers.maps(work)}, MAP_ROUNDS)
                maps += [Row.of((work.name, name), found["wrk"], found[name]) for name in found if name != "wrk"]
    finally:
        callers.close()
    return calls, maps


def section(calls: list[Row], maps: list[Row], load: float) -> tuple[str, list[Verdict]]:
    """The section's Markdown, and what is required."""
    busy = " The machine was busy with other work: read the ratios alone." if load > BUSY else ""
    lines = [
        "## The client beside tritonclient and wrk",
        "",
        f"`make bench-clients`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}; load before: {load:.2f}.{busy}",
        "",
        "One connection, one call after the other, on loopback; milliseconds of a call, medians of "
        f"{ROUNDS} alternating rounds ({LARGE_ROUNDS} of 64 MB); the ratio is of turns of one round, with its "
        "quartiles. Both make arrays into a request and the answer into an array; ours checks them against the model "
        "first, and keeps a deadline. With shared memory the tensors are not in the message. Required at batch 1.",
        "",
        "| request | beside | client | beside, ms | client, ms | ratio | required | |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    verdicts = []
    for row in calls:
        judged = "batch 1" in row.cells[0] and row.cells[2] == "connect"
        met = judged and row.ratio[1] <= MOST_OVERHEAD
        required = f"at most {MOST_OVERHEAD:.2f}" if judged else "-"
        verdicts += [row.verdict(required, met)] if judged else []
        lines.append(row.markdown("{:.3f}", required, met))
    lines += [
        "",
        f"A stream to a model of 16 layers, 1024 wide: requests a second of `client.map` with {CONCURRENCY} under way, "
        f"and of wrk with {CONCURRENCY} connections and the same bytes.",
        "",
    ]
    if not maps:
        return "\n".join([*lines, "wrk is not installed here: not measured."]), verdicts
    lines += [
        "| request | client | wrk, requests/s | map, requests/s | ratio | required | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in maps:
        judged = not row.cells[1].startswith("asyncio")
        met = judged and row.ratio[1] >= LEAST_OF_WRK
        required = f"at least {LEAST_OF_WRK}" if judged else "-"
        verdicts += [row.verdict(required, met)] if judged else []
        lines.append(row.markdown("{:,.0f}", required, met))
    return "\n".join(lines), verdicts


if __name__ == "__main__":
    sys.exit(main())
