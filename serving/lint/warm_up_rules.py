"""Rules about `model_warmup`: what each instance runs before the server calls a version ready."""

from collections.abc import Iterator
from math import prod

import numpy as np
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from conch.contracts.golden import GoldenError, read_golden
from serving.errors import ServingError
from serving.lint.findings import Change, Found, rule
from serving.lint.model_folder import ModelFolder
from serving.repository import warm_up


@rule("no-warm-up", "warning")
def no_warm_up(model: ModelFolder) -> Iterator[Found]:
    """Without warm-up the first requests of each batch size are many times slower."""
    config = model.config
    # A model with states cannot have one, see warm_up.add_warm_up; one without inputs has nothing to run.
    if model.is_onnx and config.input and not config.model_warmup and not config.HasField("sequence_batching"):
        if model.served and _nothing_to_send(model):
            return
        change = _from_golden(model)
        yield Found(
            "model_warmup",
            "none: the first request of each batch size is slow",
            f"a sample for each of the batch sizes {warm_up.batch_sizes(config.max_batch_size)}",
            "" if change else "publish the model, which writes it",
            change,
        )


@rule("warm-up-sizes", "warning")
def warm_up_sizes(model: ModelFolder) -> Iterator[Found]:
    """The warm-up leaves out batch sizes that the batcher forms, or has one that it never does."""
    config = model.config
    if _keeps_state(model):
        return
    got = sorted({sample.batch_size for sample in config.model_warmup})
    wanted = warm_up.batch_sizes(config.max_batch_size)

    def repeat(config: ModelConfig) -> dict[str, bytes]:
        warm_up.repeat_for_batches(config)
        return {}

    if got and (not set(wanted) <= set(got) or got[-1] > wanted[-1]):
        yield Found(
            "model_warmup.batch_size", str(got), f"{wanted}, for max_batch_size {config.max_batch_size}", change=repeat
        )


@rule("warm-up-input", "error")
def warm_up_input(model: ModelFolder) -> Iterator[Found]:
    """A warm-up input is not the model's, or its file is missing or too short: the model does not load."""
    inputs = {tensor.name: tensor for tensor in model.config.input}
    seen = set()
    if _keeps_state(model):
        return
    for sample in model.config.model_warmup:
        for name, given in sorted(sample.inputs.items()):
            field = f"model_warmup input {name!r}"
            if name in inputs and given.data_type != inputs[name].data_type and (field, "type") not in seen:
                seen.add((field, "type"))
                yield Found(field, DataType.Name(given.data_type), DataType.Name(inputs[name].data_type), "correct it")
            if not given.input_data_file or given.input_data_file in seen:
                continue
            seen.add(given.input_data_file)
            file = model.path / warm_up.FOLDER / given.input_data_file
            least = 0 if given.data_type == DataType.TYPE_STRING else _bytes(given.data_type, given.dims)
            there = file.stat().st_size if file.is_file() else -1
            if there < least or there < 0:
                got = f"{there:,} bytes" if there >= 0 else "not there"
                yield Found(
                    f"{warm_up.FOLDER}/{given.input_data_file}",
                    got,
                    f"a file of {least:,} bytes" if least else "a file",
                    "publish the model again",
                )


@rule("warm-up-of-states", "error", loads=True)
def warm_up_of_states(model: ModelFolder) -> Iterator[Found]:
    """A warm-up goes past the sequence batcher: NVIDIA's backend finds no state to write to, and the server dies."""

    def remove(config: ModelConfig) -> dict[str, bytes]:
        del config.model_warmup[:]
        return {}

    if model.config.model_warmup and _keeps_state(model):
        yield Found("model_warmup", f"{len(model.config.model_warmup)} samples", "none for states", change=remove)


def _keeps_state(model: ModelFolder) -> bool:
    """It is to have no warm-up at all: what is wrong in one is then nobody's question."""
    return bool(model.config.sequence_batching.state)


def _bytes(data_type: int, dims: list[int]) -> int:
    return int(prod(dims)) * warm_up.triton_dtype(data_type).itemsize


def _golden(model: ModelFolder) -> dict[str, np.ndarray]:
    """The inputs that the newest served version was published with; none where it was published otherwise."""
    if not model.served:
        return {}
    try:
        inputs, _ = read_golden(model.path / str(model.served[-1]))
    except GoldenError:
        return {}
    return {f"inputs/{name}": array for name, array in inputs.items()}


def _nothing_to_send(model: ModelFolder) -> bool:
    return any(array.size == 0 for array in _golden(model).values())


def _from_golden(model: ModelFolder) -> Change | None:
    """Build the warm-up as `publish` does, where the golden inputs are there and fit."""
    golden = _golden(model)

    def build(config: ModelConfig) -> dict[str, bytes]:
        return warm_up.add_warm_up(config, golden, str(model.served[-1]))

    trial = ModelConfig()
    trial.CopyFrom(model.config)
    try:
        return build if golden and build(trial) else None
    except (ServingError, KeyError):
        return None
