"""For every test: ONNX Runtime's telemetry is off before anything imports it; tests side by side share the cores."""

import os
import signal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker a core: with a thread a core in each of them, PyTorch's threads would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In the background of a shell; and what a test starts would ignore Ctrl-C, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
