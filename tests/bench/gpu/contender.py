"""One way to run the models on a device, in a process of its own.

    python -m tests.bench.gpu.contender "ONNX Runtime" fp16 cuda artifacts/bench-gpu

Answers turns as `tests.bench.contenders` does; a call is over when the device has finished it. Inputs and outputs stay
on the device. In fp32 no contender rounds to TF32. The first answer of each is compared with the CPU's.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.contenders import Call, answer_turns
from tests.bench.gpu.plan import COMPILED, EAGER, GRAPHS, NHWC
from tests.bench.gpu.subjects import Files, wrong

TURN_SECONDS = {"cuda": 0.05, "cpu": 0.001}


class CannotRun(Exception):
    """This contender does not run this model; the message says why."""


def serve(name: str, precision: str, device: str, folder: Path) -> None:
    """Answer the turns on the standard input."""
    prepare = pytorch if name in (EAGER, COMPILED) else onnx_runtime
    # Whatever a library raises is the reason why there is no figure, and is told beside the others' figures.
    answer_turns(prepare(name, precision, device, folder), TURN_SECONDS[device], Exception)


def pytorch(name: str, precision: str, device: str, folder: Path) -> Callable[[str, int], Call]:
    """Modules on the device, convolutions channels last; compiled for each batch size by itself."""
    import torch

    from tests.bench.gpu.preparing import served_model

    warnings.simplefilter("ignore")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = device == "cuda"

    @cache
    def module_of(model: str) -> Any:
        module = served_model(model).module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if precision == "fp16":
            _halve(module)
        if name == EAGER:
            return module
        # With CUDA graphs, which max-autotune includes; on a CPU it would only try kernels for minutes.
        return torch.compile(module, mode="max-autotune" if device == "cuda" else "default", dynamic=False)

    def prepare(model: str, batch: int) -> Call:
        if device == "cpu" and precision == "fp16" and name == COMPILED:
            raise CannotRun("not compiled for fp16 on a CPU")
        module, files = module_of(model), Files(folder, model)
        inputs = [torch.from_numpy(array).to(device) for array in files.inputs(batch).values()]

        @torch.inference_mode()
        def call() -> Any:
            outputs = module(*inputs)
            if device == "cuda":
                torch.cuda.synchronize()
            return outputs

        outputs = call()
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        _check(files, dict(zip(files.outputs(batch), (output.cpu().numpy() for output in outputs), strict=True)))
        return call

    return prepare


def _halve(module: Any) -> None:
    """Weights in fp16, and what enters a layer with weights too: pre-processing is written for float32."""
    import torch

    module.half()
    for layer in module.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            layer.register_forward_pre_hook(
                lambda _, inputs: tuple(
                    value.half() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
                    for value in inputs
                )
            )


def onnx_runtime(name: str, precision: str, device: str, folder: Path) -> Callable[[str, int], Call]:
    """Sessions with inputs and outputs bound on the device."""
    import onnxruntime

    if device == "cuda":
        # CUDA's and cuDNN's libraries are those that were installed with PyTorch.
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    graphs = name in (GRAPHS, NHWC)

    @cache
    def session_of(model: str) -> Any:
        if device == "cpu" and graphs:
            raise CannotRun("needs a GPU")
        file = Files(folder, model).onnx(precision)
        session = onnxruntime.InferenceSession(file, options, providers=providers(name, device), enable_fallback=0)
        if device == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
            raise CannotRun(f"ONNX Runtime {onnxruntime.__version__} runs on {', '.join(session.get_providers())}")
        return session

    def prepare(model: str, batch: int) -> Call:
        session, files = session_of(model), Files(folder, model)
        binding, outputs = session.io_binding(), {}
        for key, array in files.inputs(batch).items():
            binding.bind_ortvalue_input(key, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        for key, (shape, dtype) in files.outputs(batch).items():
            outputs[key] = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device, 0)
            binding.bind_ortvalue_output(key, outputs[key])
        run_options = onnxruntime.RunOptions()
        if graphs:  # a graph is for one shape and one set of addresses
            run_options.add_run_config_entry("gpu_graph_id", str(batch))

        def call() -> None:
            session.run_with_iobinding(binding, run_options)
            binding.synchronize_outputs()

        call()
        if graphs:
            call()  # the first run is a plain one, the second is captured, those after it are replayed
            call()
        _check(files, {key: value.numpy() for key, value in outputs.items()})
        return call

    return prepare


def providers(name: str, device: str) -> list[Any]:
    """The execution providers of an ONNX Runtime contender, with their options."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    options = {
        "device_id": "0",
        "use_tf32": "0",
        # Each shape is run thousands of times: the search that tries every algorithm is paid once.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "enable_cuda_graph": str(int(name in (GRAPHS, NHWC))),
        "prefer_nhwc": str(int(name == NHWC)),
    }
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _check(files: Files, got: dict[str, np.ndarray]) -> None:
    if fault := wrong(got, files.expected()):
        raise CannotRun(f"a wrong answer: {fault}")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
