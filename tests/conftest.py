"""For every test: ONNX Runtime's telemetry is off before anything imports it."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
