"""Fill in what a configuration leaves out, from the graph, as NVIDIA's C++ backend does.

Source: triton-inference-server/onnxruntime_backend src/onnxruntime.cc, AutoCompleteConfig.
"""

from pathlib import Path
from typing import Any

import onnxruntime as ort
from config_values import Config
from graph_tensors import open_dims, served_type
from ort_session import model_file, session_options

# Triton's --backend-config=default-max-batch-size, which only the C++ backends are told.
DEFAULT_MAX_BATCH_SIZE = 4


def auto_complete(config: Config, version_folder: Path) -> None:
    """Fill in the inputs or the outputs of `config` where it has none, and with them the batch size.

    A graph whose tensors all have an open first axis is batched: `max_batch_size` 0 becomes 4, and above 1 the dynamic
    batcher is turned on unless there is a scheduler. What is configured stays.

    Raises:
        ValueError: There is no file, a tensor's type cannot be served, or a batch size is given and the graph has no
            batch axis; the text names the tensor.
        Exception: What ONNX Runtime raises for a file it cannot load.
    """
    if (config["input"] or config.get("batch_input")) and config["output"]:
        return
    file = model_file(config, version_folder)
    # With the options that the instances get: other optimizations would give other shapes.
    session = ort.InferenceSession(
        str(file), session_options(config, version_folder), providers=["CPUExecutionProvider"]
    )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    fixed = [tensor for tensor in (*inputs, *outputs) if open_dims(tensor)[:1] != [-1]]
    if not fixed:
        config["max_batch_size"] = config["max_batch_size"] or DEFAULT_MAX_BATCH_SIZE
        if config["max_batch_size"] > 1 and not config.keys() & {"dynamic_batching", "sequence_batching"}:
            config["dynamic_batching"] = {}
    elif config["max_batch_size"] > 0:
        raise ValueError(
            f"max_batch_size is {config['max_batch_size']}, but '{fixed[0].name}' has the shape "
            f"{open_dims(fixed[0])} without an open first axis: allowed is 0"
        )
    if not config["input"] and not config.get("batch_input"):
        config["input"] = [_entry("input", tensor, config["max_batch_size"] > 0) for tensor in inputs]
    if not config["output"]:
        config["output"] = [_entry("output", tensor, config["max_batch_size"] > 0) for tensor in outputs]


def _entry(kind: str, tensor: Any, batched: bool) -> Config:
    dims = open_dims(tensor)[1:] if batched else open_dims(tensor)
    entry: Config = {"name": tensor.name, "data_type": served_type(kind, tensor), "dims": dims or [1]}
    if batched and not dims:  # one number an item: Triton has no empty shape
        entry["reshape"] = {"shape": []}
    return entry
