"""What an ONNX file is held against before it is published, and what came of it.

The proof itself runs PyTorch and is the export's (`export/references`); who calls `publish_file` hands it over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from conch.contracts.comparison import Tolerances
from serving.errors import ServingError


@dataclass(frozen=True, kw_only=True)
class ReferenceChoices:
    """What the file is proven against, before it is published. Without, it is shown to run and no more."""

    reference: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME|FILE.onnx")] = None
    """The module that it was made from, or another ONNX file that computes the same."""
    outputs_from: Path | None = None
    """In place of --reference, recorded answers to --inputs-from: an .npz file with an array for each output."""
    weights: Path | None = None
    """Weights of the module, as `conch export module` takes them."""
    torch_weights: Path | None = None
    """The same from a file saved by torch.save, read with weights_only=True."""
    inputs: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="input", metavar="SPEC")] = ()
    """NAME:DTYPE[AXIS,...]<LOWEST,HIGHEST>, where the range of made-up inputs, or an axis, has to be said."""
    sizes: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="AXIS=SIZE,...")] = ()
    """Sizes of an open axis that the proof runs. Default: 1,2,17,64."""
    time: str | None = None
    """The most time that the proof may take, as 90s, 5m or 1h; what it left out is said."""

    @property
    def asked(self) -> bool:
        """Whether there is anything to prove the file against.

        Raises:
            ServingError: there is not, and other options say how.
        """
        if self.reference or self.outputs_from:
            return True
        if self != ReferenceChoices():
            raise ServingError(
                "--weights, --torch-weights, --input, --sizes and --time say how a file is proven: give what it is "
                "proven against, --reference or --outputs-from"
            )
        return False


@dataclass(frozen=True)
class Proven:
    """A proof that passed."""

    parity: Mapping[str, Any]
    """The parity grid (JSON)."""
    reference: Mapping[str, Any]
    """By what (JSON)."""
    tolerance: Tolerances
    """What answers are held to."""
    said: str
    """In a line."""


Prove = Callable[[Path, ReferenceChoices, Path | None, int], Proven]
"""Of a file, the choices, `--inputs-from` and the most rows of a batch (0 for none); raises `ConchError` where the file
is not proven."""
