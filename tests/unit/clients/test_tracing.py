"""Spans, log lines and what neither they nor errors show."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from clients import WrongTensor, connect
from tests.support.client_kinds import KINDS, called
from tests.support.kserve_servers import serving_double

ROOT = Path(__file__).parents[3]
X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a program that has set tracing up would export."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)  # the global one can be set once in a process
    return exporter


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_a_span_and_the_server_is_told_of_it(kind: str, protocol: str, spans: InMemorySpanExporter) -> None:
    with serving_double(protocol) as (port, model), trace.get_tracer("test").start_as_current_span("outer") as outer:
        model.full = 1  # it is sent twice
        called(kind, f"{protocol}://127.0.0.1:{port}", lambda client: client.infer("double", {"x": X}))
    (span,) = (span for span in spans.get_finished_spans() if span.name == "infer double")
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == outer.get_span_context().span_id
    assert dict(span.attributes or {}) == {
        "triton.model_name": "double",
        "triton.model_version": "1",
        "conch.batch_size": 3,
        "conch.requests": 4,  # two of them for metadata
        "conch.retries": 1,
        "conch.failovers": 0,
    }
    context = span.context
    assert context is not None
    assert model.headers["traceparent"].startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


def test_a_failure_is_told_in_the_span(spans: InMemorySpanExporter) -> None:
    with serving_double("http") as (port, _), connect(f"127.0.0.1:{port}") as client, pytest.raises(WrongTensor):
        client.infer("double", {"y": X})
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "WrongTensor"
    assert [event.name for event in span.events] == ["exception"]


UNTRACED = """
import sys, numpy as np, clients
with clients.connect(sys.argv[1]) as client:
    client.infer("double", {"x": np.zeros((1, 4), np.float32)})
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


def test_without_tracing_nothing_of_it_is_imported_or_sent() -> None:
    with serving_double("http") as (port, model):
        run = [sys.executable, "-c", UNTRACED, f"127.0.0.1:{port}"]
        ended = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert "traceparent" not in model.headers


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, logger="clients"):
        yield caplog


def test_calls_and_what_is_sent_again_are_logged_by_one_logger(lines: pytest.LogCaptureFixture) -> None:
    with serving_double("http") as (port, model):
        urls = [f"127.0.0.1:{port}", "127.0.0.1:1"]
        with connect(urls, token="secret-token", headers={"x-key": "secret-key"}) as client:
            for _ in range(2):
                client.infer("double", {"x": X})
            assert model.headers["authorization"] == "Bearer secret-token"
    assert {record.name for record in lines.records} == {"clients"}
    said = lines.text
    assert "infer double: batch 3" in said
    assert "http://127.0.0.1:1 is left alone for 1.0 s: no server at" in said
    assert "is sent again in" in said
    assert "secret" not in said


def test_it_is_silent_until_asked() -> None:
    """Python prints warnings of loggers without a handler."""
    program = "import clients, logging; logging.getLogger('clients').warning('loud')"
    ended: Any = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
