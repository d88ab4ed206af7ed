"""Is there a GPU on which all of this can run?"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from tests.bench.gpu.device import NoGPU, find_gpu


@cache
def why_no_gpu() -> str:
    """Why the proofs cannot run here; empty where they can: the driver, PyTorch and ONNX Runtime all use the GPU."""
    try:
        find_gpu()
    except NoGPU as error:
        return str(error)
    # That a provider is listed says that it was built, not that CUDA's libraries are found.
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", [value], [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=providers("cuda"), enable_fallback=0
        )
        session.run(None, {"x": np.ones(1, np.float32)})
    except Exception as error:  # its exceptions share no base class
        return f"ONNX Runtime's CUDA provider does not run: {' '.join(str(error).split())[:300]}"
    return "" if "CUDAExecutionProvider" in session.get_providers() else "ONNX Runtime leaves its CUDA provider out"


def providers(device: str, tf32: bool = False) -> list[Any]:
    """ONNX Runtime's providers as a served model has them on the device, "cuda" or "cpu"."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    onnxruntime.preload_dlls()  # CUDA's and cuDNN's libraries that were installed with PyTorch
    options = {"device_id": "0", "use_tf32": str(int(tf32)), "cudnn_conv_algo_search": "HEURISTIC"}
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]
