"""Whether ONNX Runtime survives a file: some in fp16 end the process that loads them on a CPU, a server with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

LOAD = (
    "import sys, onnxruntime; options = onnxruntime.SessionOptions(); options.log_severity_level = 4;"
    "onnxruntime.InferenceSession(sys.argv[1], options, providers=['CPUExecutionProvider'])"
)


def ended_by(path: Path) -> str:
    """The signal that ends a process of its own as it loads the file; empty where it loads or is refused."""
    code = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, check=False).returncode
    return signal.Signals(-code).name if code < 0 else ""
