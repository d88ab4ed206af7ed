"""Keep ONNX Runtime's tools from writing on the terminal: what they would warn of, the gate measures."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import onnxruntime

WARNING, FATAL = 2, 4  # ONNX Runtime's default and its quietest level


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence prints, the root logger and the sessions that the tools open; one of them adds a handler as it loads."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    root.setLevel(logging.ERROR)
    root.addHandler(logging.NullHandler())  # with none, `logging.basicConfig` would set its own level
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)
        root.setLevel(level)
        root.handlers[:] = handlers
