"""Triton's `onnxruntime` backend in Python: a drop-in where NVIDIA's C++ one is not installed.

Triton loads this file for each instance of each model whose configuration says `backend: "onnxruntime"`, in a process
of its own (the Python backend's stub). It stands alone: nothing of Conch is imported.

One `execute` call gets the requests that Triton batched. They are joined into one run, and the outputs are split
again. If that run fails, each request is run alone, so a request that breaks the graph fails only itself.

What needs no check here: Triton's core has already compared each request's names, types, shapes and batch size with
the configuration, and `initialize` compared the configuration with the graph.

Source: triton-inference-server/python_backend README, triton-inference-server/onnxruntime_backend src/onnxruntime.cc.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported, which reads it once

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402
