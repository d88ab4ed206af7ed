"""Weights alone in 4 or 8 bits: ONNX Runtime's MatMulNBits, for large linear layers that wait for memory.

A block of a column shares a scale and a zero point. The activations stay float32, and so does the arithmetic, unless
`int8` lets the CPU round each block of a row to int8 too.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from export.precision.files import save
from export.precision.quiet import quiet
from serving.onnx_files.kernel_attributes import INT8_ARITHMETIC


def quantize_weights(prepared: Path, path: Path, nodes: set[str], bits: int, block_size: int, int8: bool) -> None:
    """Write `prepared` with the weights of the MatMul `nodes` in `bits` bits to `path`."""
    with quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            onnx.load(prepared), bits=bits, block_size=block_size, is_symmetric=False,
            accuracy_level=INT8_ARITHMETIC if int8 else None,
            nodes_to_include=sorted(nodes), op_types_to_quantize=("no other",),
        )  # fmt: skip
        quantizer.process()
    save(quantizer.model.model, path)
