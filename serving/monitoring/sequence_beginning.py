"""What the first request of a sequence has to be answered with.

The golden answers of a model that keeps states are of states that clients cannot send. So its file is run once, on the
CPU of this process, with the states that a sequence begins with.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import triton_to_np_dtype

from conch.contracts.golden_requests import Golden
from conch.contracts.live import config_file
from serving.errors import ServingError
from serving.onnx_files.runtime_reason import runtime_reason
from serving.onnx_files.signature import open_session
from serving.repository.configuration import parse
from serving.repository.sequences import initial_values

FALSE_TRUE = ("int32_false_true", "fp32_false_true", "bool_false_true")
TYPES = {"int32_false_true": np.int32, "fp32_false_true": np.float32, "bool_false_true": np.bool_}


def beginning(golden: Golden, version: Path) -> Golden:
    """`golden` of the version in this folder, with what its inputs are answered as the only request of a sequence.

    Raises:
        ServingError: The file cannot be run so.
    """
    config = parse(config_file(version.parent, int(version.name)).read_text(encoding="utf-8"))
    file = version / (config.default_model_filename or "model.onnx")
    session = open_session(file, str(file))
    ranks = {tensor.name: len(tensor.shape) for tensor in session.get_inputs()}
    own = {**_states(config, version.parent), **_controls(config)}
    names = list(golden.outputs)
    answers = []
    for item in range(len(golden)):
        feed = golden.questions([item])
        feed |= {name: value.reshape((1,) * (ranks[name] - value.ndim) + value.shape) for name, value in own.items()}
        try:
            answers.append(session.run(names, feed))
        except Exception as error:  # its exceptions share no base class
            raise ServingError(
                f"{file}: as the first request of a sequence it fails: {runtime_reason(error)}"
            ) from error
    batched = config.max_batch_size > 0
    joined = [np.concatenate(rows) if batched else np.stack(rows) for rows in zip(*answers, strict=True)]
    return replace(golden, outputs=dict(zip(names, joined, strict=True)))


def _states(config: ModelConfig, model: Path) -> dict[str, np.ndarray]:
    """By input name, without a batch axis."""
    given, found = initial_values(config, model), {}
    for state in config.sequence_batching.state:
        kind = triton_to_np_dtype(_type_name(state.data_type))
        dims = [max(dim, 1) for dim in (state.initial_state[0].dims if state.initial_state else state.dims)]
        value = np.zeros(dims, kind)
        if state.input_name in given:
            value = np.frombuffer(given[state.input_name], kind, count=value.size).reshape(dims)
        found[state.input_name] = value
    return found


def _controls(config: ModelConfig) -> dict[str, np.ndarray]:
    """What the server tells the graph of a request that begins and ends a sequence, and is one: all is true."""
    found = {}
    for entry in config.sequence_batching.control_input:
        for control in entry.control:
            field = next((field for field in FALSE_TRUE if len(getattr(control, field))), None)
            if field is None:
                raise ServingError(f"{config.name}: the graph is told which sequence it is, by {entry.name}")
            found[entry.name] = np.array([getattr(control, field)[1]], TYPES[field])
    return found


def _type_name(data_type: int) -> str:
    """`FP32` of the configuration's number for TYPE_FP32."""
    name: str = ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[data_type].name
    return name.removeprefix("TYPE_").replace("STRING", "BYTES")
