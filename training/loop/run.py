"""How a run is made, whatever the recipe: arithmetic, devices, compiler and what it is watched with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from conch.contracts.errors import ConchError


@dataclass(frozen=True)
class Run:
    """What decides how a recipe is trained and is no setting of it; names and meaning are those of Lightning's Trainer.

    Precision, the number of processes and the compiler decide the last digits of the weights and are part of a
    checkpoint's fingerprint; where they are the defaults, they leave no trace in it.
    """

    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Numbers that the network computes with; weights are kept, and judged, in 32 bits. 16-mixed needs a GPU."""
    compile: bool = False
    """Compile the network with torch.compile before training; worth it for runs of minutes."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    devices: int = 1
    """Processes on this machine, each with a GPU of its own, or all of them on the CPU; a step learns from one batch
    of each."""
    nodes: int = 1
    """Machines; the same command runs on each of them."""
    tensorboard: bool = False
    """Write the metrics of each epoch for TensorBoard, too, into artifacts/tensorboard/MODEL."""

    def __post_init__(self) -> None:
        """Refuse numbers of devices and nodes that are none."""
        for name in ("devices", "nodes"):
            if getattr(self, name) < 1:
                raise ConchError(f"--{name} {getattr(self, name)}: it must be at least 1")

    @property
    def processes(self) -> int:
        """How many train together, over all nodes."""
        return self.devices * self.nodes

    def device_kind(self) -> Literal["cpu", "gpu"]:
        """Where this run trains on this machine.

        Raises:
            ConchError: the machine has no such device, too few of them, or they do not compute in `precision`.
        """
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        kind: Literal["cpu", "gpu"] = (
            "gpu" if self.accelerator == "gpu" or (self.accelerator == "auto" and gpus) else "cpu"
        )
        if kind == "gpu" and self.devices > gpus:
            raise ConchError(
                f"--devices {self.devices}: PyTorch sees {gpus} GPUs on this machine; --accelerator cpu takes "
                "processes on the CPU instead"
            )
        if kind == "cpu" and self.precision == "16-mixed":
            raise ConchError("--precision 16-mixed needs a GPU; on a CPU take bf16-mixed or 32-true")
        return kind

    def decides(self) -> dict[str, Any]:
        """What of this changes the weights, for the fingerprint; nothing where all of it is the default."""
        chosen = {"precision": self.precision, "compile": self.compile, "processes": self.processes}
        defaults = {"precision": "32-true", "compile": False, "processes": 1}
        return {name: value for name, value in chosen.items() if value != defaults[name]}

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "accelerator": self.device_kind(),
            "devices": self.devices,
            "nodes": self.nodes,
            "precision": self.precision,
            "compile": self.compile,
        }
