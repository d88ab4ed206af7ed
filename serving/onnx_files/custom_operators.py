"""Operators that ONNX Runtime does not bring along: those of onnxruntime-extensions, as tokenizers.

Only the library of the installed package is ever loaded here, never one that lies beside a model: a library is code.

Source: onnxruntime-extensions, README; triton-inference-server/onnxruntime_backend, src/onnxruntime.cc.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

DOMAIN = "ai.onnx.contrib"
"""Of its operators of text."""
PICTURE_DOMAIN = "com.microsoft.extensions"
"""Of its operators of pictures."""
DOMAINS = (DOMAIN, PICTURE_DOMAIN)
LIBRARY = "libortextensions.so"
"""What the library is called in a version's folder, and in `op_library_filename` of its configuration."""


def installed_library() -> Path | None:
    """That of the installed package, without importing it."""
    found = importlib.util.find_spec("onnxruntime_extensions")
    places = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    return next((file for place in places for file in sorted(place.glob("_extensions_pydll*.so"))), None)


def uses_custom_operators(model: onnx.ModelProto) -> bool:
    """Whether a graph is written with them."""
    return any(entry.domain in DOMAINS for entry in model.opset_import)


def open_with_operators(
    model: Path | bytes, options: onnxruntime.SessionOptions, providers: Sequence[Any], **other: Any
) -> onnxruntime.InferenceSession:
    """A session; where the graph asks for these operators with the installed library.

    Raises:
        Exception: what ONNX Runtime raises for a file that it cannot load.
    """
    try:
        return onnxruntime.InferenceSession(model, options, providers=list(providers), **other)
    except Exception as error:
        library = installed_library()
        if not any(domain in str(error) for domain in DOMAINS) or library is None:
            raise
        options.register_custom_ops_library(str(library))
        return onnxruntime.InferenceSession(model, options, providers=list(providers), **other)
