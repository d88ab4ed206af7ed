"""What ONNX Runtime says was wrong, without its codes, source files and C++ signatures."""

from __future__ import annotations

import re

LONGEST = 400
"""Characters of a reason."""

# "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. Name:'x' Status Message:
# /onnxruntime_src/onnxruntime/.../reshape_helper.h:91 onnxruntime::ReshapeHelper::ReshapeHelper(...) what is wrong"
_NOISE = (
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
    r"^Non-zero status code returned while ",
    r"^Load model from .*? failed: ?",
    r"Status Message: ",
    r"/\S+\.(?:cc|h):\d+ (?:[^()]*\([^()]*\)(?: const)? )?",
)


def runtime_reason(error: Exception) -> str:
    """The message of an exception of ONNX Runtime on one line."""
    return plain(str(error)) or type(error).__name__


def plain(text: str) -> str:
    """A message of ONNX Runtime on one line; of others, as they are."""
    text = " ".join(text.split())
    for noise in _NOISE:
        text = re.sub(noise, "", text)
    return text[:LONGEST]
