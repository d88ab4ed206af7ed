"""ONNX files while variants are made: weights too large for one file lie beside it."""

from __future__ import annotations

from pathlib import Path

import onnx

from export.conversion import convert
from serving.onnx_files.inspection import inspect_onnx


def is_large(path: Path) -> bool:
    """Whether a model cannot be written as one file."""
    return size_of(path) > convert.LARGEST_FILE


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write `model`, its weights beside it where they are too large for one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = path.parent / convert.EXTERNAL_DATA
    weights.unlink(missing_ok=True)  # else what is written is appended
    if model.ByteSize() > convert.LARGEST_FILE:
        onnx.save(model, path, save_as_external_data=True, location=weights.name)
    else:
        onnx.save(model, path)


def size_of(path: Path) -> int:
    """Bytes of a model and of the files that it keeps weights in."""
    files = (path.name, *inspect_onnx(path, path.stem).external)
    return sum((path.parent / file).stat().st_size for file in files)
