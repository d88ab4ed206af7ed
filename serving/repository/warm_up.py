"""Warm-up of a model: what Triton runs on each instance before it calls a version ready.

A first run is slow (the backend's own first execution, memory, on a GPU the choice of kernels), and on a GPU it is slow
again for each new batch size. Triton's `model_warmup` runs a sample for each of them at load; its inputs are golden
ones, so that it takes the same way through the graph as a real request.

    <model>/config.pbtxt                  model_warmup { batch_size, inputs { input_data_file: "<version>/<tensor>" } }
    <model>/warmup/<version>/<tensor>     one item's bytes

Source: triton-inference-server/common protobuf/model_config.proto (ModelWarmup) and core src/backend_model_instance.cc
(GenerateWarmupData): a sample of batch size N is N requests of one item each, run as one batch.
"""

import copy
from collections.abc import Mapping

import numpy as np
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInput
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from serving.errors import ServingError

FOLDER = "warmup"
"""The folder inside a model's own that Triton reads warm-up files from."""


def batch_sizes(max_batch_size: int) -> list[int]:
    """The powers of two up to the maximum, and the maximum; [1] for a model without a batch axis."""
    powers = [2**power for power in range(max_batch_size.bit_length()) if 2**power < max_batch_size]
    return [*powers, max(max_batch_size, 1)]


def add_warm_up(config: ModelConfig, golden: Mapping[str, np.ndarray], version: str) -> dict[str, bytes]:
    """Give `config` its `model_warmup` from the first golden item; the files for `FOLDER`, by relative path.

    None for a model that keeps state: Triton's warm-up goes past the sequence batcher, so that NVIDIA's backend finds
    no state to write to and the server dies (core, TRITONBACKEND_StateNew). None either of an ensemble, which has no
    instances, nor where there is nothing to send: no inputs, or inputs without elements.

    Args:
        config: The configuration to complete; its samples of before are replaced.
        golden: `inputs/<tensor>` -> array whose first axis counts items.
        version: The folder the files are to lie in, below `FOLDER`.

    Raises:
        ServingError: A golden input is not of the model's type or shape; the message names it.
    """
    del config.model_warmup[:]
    arrays = {tensor.name: golden[f"inputs/{tensor.name}"] for tensor in config.input}
    never = config.HasField("sequence_batching") or config.HasField("ensemble_scheduling")
    if never or not arrays or any(array.size == 0 for array in arrays.values()):
        return {}
    items = {tensor.name: _item(tensor, arrays[tensor.name][0], config.name) for tensor in config.input}
    sample, files = config.model_warmup.add(), {}
    for number, (name, item) in enumerate(items.items()):
        file = f"{version}/{_file_name(name, number)}"
        files[file] = _bytes(item)
        sample.inputs[name].data_type = config.input[number].data_type
        sample.inputs[name].dims.extend(item.shape)
        sample.inputs[name].input_data_file = file
    repeat_for_batches(config)
    return files


def repeat_for_batches(config: ModelConfig) -> None:
    """Make the inputs of the first sample a sample for each of `batch_sizes`; nothing where there is no sample."""
    if not config.model_warmup:
        return
    first = copy.deepcopy(config.model_warmup[0])
    del config.model_warmup[:]
    for size in batch_sizes(config.max_batch_size):
        sample = config.model_warmup.add(name=f"batch of {size}", batch_size=size)
        for name, given in first.inputs.items():
            sample.inputs[name].CopyFrom(given)


def _item(tensor: ModelInput, item: np.ndarray, model: str) -> np.ndarray:
    """A golden item of an input, checked against the input."""
    wanted = triton_dtype(tensor.data_type)
    item = np.atleast_1d(item)  # Triton has no empty shape
    same_type = item.dtype.kind in "US" if wanted.hasobject else item.dtype == wanted
    same_shape = len(item.shape) == len(tensor.dims) and all(
        dim in (-1, size) for dim, size in zip(tensor.dims, item.shape, strict=True)
    )
    if not same_type or not same_shape:
        raise ServingError(
            f"model {model!r}: the golden inputs of {tensor.name!r} are {item.dtype} {list(item.shape)} an item, the "
            f"model takes {DataType.Name(tensor.data_type)} {list(tensor.dims)}"
        )
    return item


def triton_dtype(data_type: int) -> np.dtype:
    """NumPy's type of a Triton data type; object for strings."""
    name = DataType.Name(data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
    return np.dtype(triton_to_np_dtype(name))


def _file_name(tensor: str, number: int) -> str:
    """The tensor's name where a file may have it, else its place among the inputs."""
    return tensor if tensor.replace("_", "").isalnum() and tensor.isascii() and len(tensor) < 100 else f"input_{number}"


def _bytes(item: np.ndarray) -> bytes:
    """An item as the wire has it: row by row, each string after its length in four bytes."""
    if item.dtype.kind in "US":
        serialized = serialize_byte_tensor(np.char.encode(item, "utf-8") if item.dtype.kind == "U" else item)
        return bytes(serialized.item())
    return np.ascontiguousarray(item).tobytes()
