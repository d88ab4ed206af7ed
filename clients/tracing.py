"""Each call as a span of OpenTelemetry, whose context goes to the server: Triton's spans of it become children.

Nothing of OpenTelemetry is needed, and nothing imported, before the program imports its API: who has not done that has
set no tracing up, and a call costs it a look into a dictionary.
"""

import sys
from typing import Any

from clients.calls import Call


class Tracing:
    """An observer of calls. Names of attributes are Triton's own where it has one, and the kit's where not.

    Sources: src/tracer.cc of triton-inference-server/server; OpenTelemetry's semantic conventions for `error.type`.
    """

    def __init__(self) -> None:
        self._tracer: Any = None
        self._spans: dict[int, Any] = {}

    def begun(self, call: Call) -> None:
        """Begin a span as a child of the caller's, and give the request its context (W3C: `traceparent`)."""
        if "opentelemetry.trace" not in sys.modules:
            return
        from opentelemetry import propagate, trace

        if self._tracer is None:
            self._tracer = trace.get_tracer("clients")
        span = self._tracer.start_span(f"{call.operation} {call.model}".strip(), kind=trace.SpanKind.CLIENT)
        propagate.inject(call.headers, trace.set_span_in_context(span))
        if span.is_recording():
            self._spans[id(call)] = span

    def ended(self, call: Call, seconds: float, error: BaseException | None) -> None:
        """End it, with what was counted."""
        span = self._spans.pop(id(call), None)
        if span is None:
            return
        from opentelemetry.trace import StatusCode

        if call.model:
            span.set_attributes(
                {"triton.model_name": call.model, "triton.model_version": call.answered or call.version}
            )
        counted = {"batch_size": call.batch, "requests": call.requests, "retries": call.retries}
        span.set_attributes({f"conch.{name}": number for name, number in counted.items()})
        span.set_attribute("conch.failovers", call.failovers)
        if error is not None:
            span.set_attribute("error.type", type(error).__qualname__)
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, str(error))
        span.end()
