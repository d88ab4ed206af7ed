"""Weights to proven ONNX: convert, prove, publish.

conch export cnn
"""

import os

# ONNX Runtime's wheels send telemetry unless told not to before the first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
