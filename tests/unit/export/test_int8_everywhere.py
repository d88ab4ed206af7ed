"""An int8 file for x86 answers the same on processors with and without VNNI; one for x86-vnni does not.

Needs `qemu-x86_64` (Debian's qemu-user), which runs ONNX Runtime as on a processor of another kind.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from export.conversion.convert import convert
from export.precision.order import Order, Way
from export.precision.original import original_of
from export.precision.quantizers import quantizers_for
from export.precision.target import TargetName
from training.recipe import Served, Tensor

pytestmark = pytest.mark.slow

QEMU = shutil.which("qemu-x86_64")
RUN = (
    "import sys, numpy, onnxruntime; model, inputs, answers = sys.argv[1:];"
    "numpy.save(answers, onnxruntime.InferenceSession(model).run(None, {'x': numpy.load(inputs)})[0])"
)


class Layers(nn.Module):
    """Convolutions and a linear layer, whose activations are all positive and fill their range."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Conv2d(16, 32, 3), nn.Conv2d(32, 16, 3), nn.Linear(16 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.LSTM(64, 64, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(64, 256), nn.Linear(256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


NETWORKS: dict[str, tuple[type[nn.Module], Way, tuple[int, ...], tuple[int, ...]]] = {
    "layers": (Layers, "static", (16, 8, 8), (10,)),
    "recurrent": (Recurrent, "auto", (5, 64), (5, 64)),
    "linear": (Linear, "dynamic", (5, 64), (5, 64)),
    "weights": (Linear, "weights", (5, 64), (5, 64)),
}


@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed")
@pytest.mark.parametrize("target", ["x86", "x86-vnni"])
@pytest.mark.parametrize("network", NETWORKS)
def test_seven_bits_are_the_same_without_vnni(tmp_path: Path, network: str, target: TargetName) -> None:
    module, way, taken, given = NETWORKS[network]
    x = np.abs(np.random.default_rng(0).standard_normal((8, *taken))).astype(np.float32)
    served = Served(
        "net", module().eval(), (Tensor("x", "float32", ("batch", *taken)),),
        (Tensor("y", "float32", ("batch", *given)),), {"x": x}, calibration={"x": x},
    )  # fmt: skip
    convert(served, tmp_path / "fp32.onnx", "torchscript")
    original = original_of(served, tmp_path / "fp32.onnx", served.calibration)
    quantizer = quantizers_for(original, Order("int8", target, way))[-1]
    quantizer.write(tmp_path / "int8.onnx", quantizer.methods[-1], set())
    np.save(tmp_path / "x.npy", x)
    assert QEMU is not None
    files = [str(tmp_path / name) for name in ("int8.onnx", "x.npy", "elsewhere.npy")]
    subprocess.run([QEMU, "-cpu", "Haswell", sys.executable, "-c", RUN, *files], check=True, capture_output=True)
    here = onnxruntime.InferenceSession(tmp_path / "int8.onnx").run(None, {"x": x})[0]
    difference = np.abs(here - np.load(tmp_path / "elsewhere.npy")).max()
    if network == "weights":  # its kernels do not add in 16 bits; their sums of floats are in another order
        assert difference < 1e-4
    elif target == "x86":
        assert difference == 0
    elif "avx512_vnni" in Path("/proc/cpuinfo").read_text():
        assert difference > 1e-3, "8 bits saturate there: what the eighth bit costs"
