"""What a kernel asks of a node's attributes: the types that it is registered with (`kernels.py`) do not tell.

Found by running files of `onnxruntime.quantization.matmul_nbits_quantizer` with ONNX Runtime 1.17.3 to 1.31.1, block
sizes 16 to 256, with and without zero points. 1.22 loads weights of 8 bits and fails when it runs them in float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.onnx_files.operator_uses import Use

Version = tuple[int, int]
INT8_ARITHMETIC = 4
"""MatMulNBits' `accuracy_level` that lets the CPU round activations to int8."""


def first_version(use: Use) -> Version:
    """Major and minor version of the first ONNX Runtime that takes the attributes of `use`; (0, 0): each does."""
    ask = _ASKED.get((use.domain, use.operator))
    return ask(use) if ask else (0, 0)


def said_attributes(use: Use) -> str:
    """The attributes that versions differ in, as in "bits 8, accuracy_level 4"; empty where there are none."""
    if (use.domain, use.operator) not in _ASKED:
        return ""
    return f"bits {_integer(use, 'bits', 4)}, accuracy_level {_integer(use, 'accuracy_level', 0)}"


def _matmul_n_bits(use: Use) -> Version:
    match _integer(use, "bits", 4):
        case 8:
            return (1, 22) if _integer(use, "accuracy_level", 0) == INT8_ARITHMETIC else (1, 23)
        case 2:
            return (1, 24)
        case _:
            return (0, 0)


def _integer(use: Use, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in use.node.attribute if attribute.name == name), default)


_ASKED: Mapping[tuple[str, str], Callable[[Use], Version]] = {("com.microsoft", "MatMulNBits"): _matmul_n_bits}
