"""The GPU: what it is, how busy it is, and what it can do at the most, measured.

python -m tests.bench.gpu.device cuda        a line of JSON: operations and bytes a second

Source of the queries: nvidia-smi --help-query-gpu.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from conch.contracts.errors import ConchError
from serving.server import processes

IDENTITY = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "compute_cap")
USE = ("utilization.gpu", "memory.used", "power.draw", "clocks.sm")
SAMPLE_MS = 100
# Sides of square matrices, and bytes copied: large enough that the device and not the launch is timed.
SIDE, COPIED, REPEATS = {"cuda": 8192, "cpu": 512}, {"cuda": 1 << 30, "cpu": 1 << 24}, 20


class NoGPU(ConchError):
    """There is no GPU that can be used; the message is one line that says why and what to do."""


def find_gpu() -> dict[str, str]:
    """The first GPU, by `IDENTITY`.

    Raises:
        NoGPU: nvidia-smi, PyTorch or ONNX Runtime does not see one.
    """
    identity = dict(zip(IDENTITY, _query(IDENTITY), strict=True))
    import onnxruntime
    import torch

    if not torch.cuda.is_available():
        raise NoGPU(f"PyTorch {torch.__version__} sees no GPU: make setup ACCEL=gpu installs a build for CUDA")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise NoGPU("this ONNX Runtime has no CUDA: make setup ACCEL=gpu installs onnxruntime-gpu in its place")
    return identity


def memory_used() -> int:
    """Bytes of the first GPU's memory in use, by all processes."""
    return int(float(_query(("memory.used",))[0]) * 2**20)


def _query(names: tuple[str, ...]) -> list[str]:
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except FileNotFoundError:
        raise NoGPU("there is no nvidia-smi: no NVIDIA driver is installed") from None
    except (subprocess.SubprocessError, OSError) as error:
        raise NoGPU(f"nvidia-smi fails: {error}") from error
    return [value.strip() for value in found.stdout.splitlines()[0].split(",")]


@dataclass
class Use:
    """How the GPU was used while something ran; medians over time."""

    samples: list[dict[str, float]] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Utilisation in %, memory in MiB, power in W and clock in MHz; empty without samples."""
        # The first samples are of the time before: nvidia-smi looks back up to a second.
        kept = self.samples[len(self.samples) // 2 :]
        values = {name: [one[name] for one in kept if name in one] for name in USE}
        return {name: median(found) for name, found in values.items() if found}


@contextlib.contextmanager
def watched() -> Iterator[Use]:
    """Sample the first GPU while the block runs."""
    command = [
        "nvidia-smi", "--id=0", f"--query-gpu={','.join(USE)}", "--format=csv,noheader,nounits",
        f"--loop-ms={SAMPLE_MS}",
    ]  # fmt: skip
    use = Use()
    process = processes.spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield use
    finally:
        process.terminate()
        output, _ = process.communicate()
        use.samples += parse_use(output.decode(errors="replace"))


def parse_use(text: str) -> list[dict[str, float]]:
    """What nvidia-smi printed, a sample a line; what a GPU does not tell ("[N/A]") is left out."""
    samples = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != len(USE):
            continue
        sample = {}
        for name, value in zip(USE, values, strict=True):
            with contextlib.suppress(ValueError):
                sample[name] = float(value)
        samples.append(sample)
    return samples


def peaks(device: str) -> dict[str, float]:
    """Measured in a process of its own: `flops_fp32` (without TF32), `flops_fp16` and `bytes` a second."""
    command = [sys.executable, "-m", "tests.bench.gpu.device", device]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=180, check=True)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return result


def _measure(device: str) -> dict[str, float]:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    side, found = SIDE[device], {}
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        found[f"flops_{name}"] = 2 * side**3 / _best(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), wait)
    source = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["bytes"] = 2 * COPIED[device] / _best(lambda: target.copy_(source), wait)  # read and written
    return found


def _best(call: Any, wait: Any) -> float:
    """Seconds of the fastest of `REPEATS` calls: a limit is what was reached once."""
    times = []
    for _ in range(REPEATS):
        wait()
        started = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1])))  # noqa: T201, the answer
