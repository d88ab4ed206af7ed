"""What each Triton release can load: release -> ONNX Runtime -> newest opset and IR version, in one place.

Sources: triton-inference-server/server docs/introduction/compatibility.md ("ONNX Runtime Versions") for the releases.
Opset and IR version were found by loading files of each with ONNX Runtime's own wheels: what it documents is newer in
places than what it loads (opset 23 with 1.22).
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from serving.errors import ServingError

# The release of the embedded server, the oldest one that this project's tests run.
OLDEST = "24.10"
# The release that repositories are checked against: what it does not load, no earlier one does.
NEWEST = "26.09"

# The newest opset that both of PyTorch's exporters write. Newer opsets add nothing that these graphs need.
EXPORTED_OPSET = 20
# The newest IR version that this project writes: ONNX Runtime 1.20 refuses 11 (onnxruntime issue 23602).
EXPORTED_IR = 10

ONNX_RUNTIME: dict[str, str] = {
    "24.04": "1.17.3",
    "24.05": "1.18.0", "24.06": "1.18.0", "24.07": "1.18.1", "24.08": "1.18.1",
    "24.09": "1.19.2", "24.10": "1.19.2", "24.11": "1.19.2",
    "24.12": "1.20.1", "25.01": "1.20.1", "25.02": "1.20.1",
    "25.03": "1.21.0", "25.04": "1.21.0",
    "25.05": "1.22.0", "25.06": "1.22.0", "25.07": "1.22.0",
    "25.08": "1.23.0", "25.09": "1.23.0", "25.10": "1.23.1", "25.11": "1.23.2", "25.12": "1.23.2", "26.01": "1.23.2",
    "26.02": "1.24.1", "26.03": "1.24.2", "26.04": "1.24.4", "26.05": "1.24.4", "26.06": "1.24.4",
    "26.07": "1.27.0", "26.08": "1.28.0", "26.09": "1.27",
}  # fmt: skip
"""Triton release -> the ONNX Runtime in its container; that of 26.09 from its build.py, which names no patch."""

# By ONNX Runtime's minor version, the newest opset of ai.onnx and the newest IR version it loads; a row holds until the
# next one. 1.25 and 1.26 are in no release.
LIMITS: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = (
    ((1, 17), (20, 9)),
    ((1, 18), (21, 10)),
    ((1, 21), (22, 10)),
    ((1, 23), (23, 11)),
    ((1, 24), (25, 13)),
    ((1, 27), (26, 13)),
)


def newest_opset(model: onnx.ModelProto) -> int:
    """The opset of ai.onnx that `model` asks for; 0 where it asks for none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


@dataclass(frozen=True)
class Release:
    """A Triton release, and what it loads."""

    name: str
    onnx_runtime: str
    newest_opset: int
    """The newest opset of ai.onnx it loads."""
    newest_ir_version: int
    """The newest IR version it loads."""

    @property
    def opset(self) -> int:
        """Opset of ai.onnx to export, for this release and all later ones."""
        return min(self.newest_opset, EXPORTED_OPSET)

    @property
    def ir_version(self) -> int:
        """IR version to write, for this release and all later ones."""
        return min(self.newest_ir_version, EXPORTED_IR)


def find_release(name: str) -> Release:
    """The release called `name`, such as "24.10".

    Raises:
        ServingError: It is not in the table; the message lists those that are.
    """
    if name not in ONNX_RUNTIME:
        raise ServingError(f"--triton {name}: unknown release; known are {', '.join(ONNX_RUNTIME)}")
    major, minor = (int(part) for part in ONNX_RUNTIME[name].split(".")[:2])
    opset, ir_version = [limit for since, limit in LIMITS if since <= (major, minor)][-1]
    return Release(name, ONNX_RUNTIME[name], opset, ir_version)
