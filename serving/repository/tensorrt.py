"""Turn on TensorRT in a configuration, in the way that released ONNX Runtime backends of NVIDIA honour it.

The accelerator's own parameters are read; of an engine, a file is kept whose name tells the graph's node names and the
GPU, and not the weights. So the folder of the engines is the version's own, and only one version is served.

Source: triton-inference-server/onnxruntime_backend src/onnxruntime.cc, ModelState::LoadModel; microsoft/onnxruntime
onnxruntime/core/providers/tensorrt (`TRTGenerateId`); onnxruntime.ai, TensorRT Execution Provider, "Explicit shape
range".
"""

from pathlib import PurePosixPath

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput

from serving.backends.onnxruntime.parameters import PROFILES
from serving.errors import ServingError

NAME = "tensorrt"


def check_cache(folder: str) -> None:
    """Raise a `ServingError` where `folder` cannot be where a server keeps engines."""
    if not PurePosixPath(folder).is_absolute():
        raise ServingError(
            f"--tensorrt is {folder!r}, it has to be an absolute path: the folder for engines as the server sees it, "
            "which in a container is not where this command runs"
        )


def accelerate(config: ModelConfig, folder: str, version: int) -> None:
    """Let `config` run on TensorRT in fp16, engines kept in `folder`, an absolute path of the server's.

    Engines are built for all batches that the model takes at once, where nothing but the batch is open: TensorRT would
    build another one, which takes minutes, for the first larger batch.

    Args:
        config: The configuration of one version's graph.
        folder: Has to be there when the model is loaded; ONNX Runtime makes one folder in it, no more.
        version: The version's number.
    """
    entry = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name=NAME)
    entry.parameters["precision_mode"] = "FP16"
    # 1 and 0 are the spellings that both NVIDIA's backend and the ONNX Runtime behind it read.
    entry.parameters["trt_engine_cache_enable"] = "1"
    entry.parameters["trt_engine_cache_path"] = str(PurePosixPath(folder) / f"{config.name}-{version}")
    if config.max_batch_size > 0 and all(min(tensor.dims) > 0 for tensor in config.input):
        for key, rows in zip(PROFILES, (1, config.max_batch_size, config.max_batch_size), strict=True):
            entry.parameters[key] = ",".join(
                f"{tensor.name}:{'x'.join(map(str, [rows, *_dims(tensor)]))}" for tensor in config.input
            )
    config.version_policy.latest.num_versions = 1


def _dims(tensor: ModelInput) -> list[int]:
    """The dims of an input in the graph, without the batch."""
    return [] if tensor.HasField("reshape") else list(tensor.dims)
