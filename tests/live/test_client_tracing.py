"""A real Triton's spans are children of the clients'."""

import re
import time
from collections.abc import Iterator

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clients import connect
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.http_servers import Answering, answering


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """What Triton exports: spans in JSON, some a text."""
    return []


@pytest.fixture(scope="module")
def traced(collected: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton that exports a span of each request at once."""

    class Collector(Answering):
        def do_POST(self) -> None:
            collected.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer(b"")

    folder = tmp_path_factory.mktemp("tracing")
    publish_file(graphs.write(graphs.AFFINE, folder / "affine.onnx"), "affine", folder / "models")
    with answering(Collector) as port:
        settings = ["mode=opentelemetry", "level=TIMESTAMPS", "rate=1"]
        settings += ["opentelemetry,bsp_schedule_delay=50", f"opentelemetry,url=http://127.0.0.1:{port}/v1/traces"]
        options = [f"--trace-config={setting}" for setting in settings]
        with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0, options=options) as server:
            yield server


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_servers_span_is_a_child_of_the_clients(
    protocol: str, traced: Server, collected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    with connect(f"{protocol}://{getattr(traced, protocol)}") as client:
        client.infer("affine", {"x": np.zeros((1, 4), np.float32)})
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    child = re.compile(rf'"parentSpanId" ?: ?"{span.context.span_id:016x}"')
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not any(child.search(spans) for spans in collected):
        time.sleep(0.05)
    (told,) = (spans for spans in collected if child.search(spans))
    assert f"{span.context.trace_id:032x}" in told
