"""The `sequence_batching` section of config.pbtxt: a model whose states the server keeps between requests.

A client gives each request of a sequence the same correlation id and marks the first and the last. The server hands
the state outputs of one run to the state inputs of the next run of that sequence (Triton's implicit state management):
clients never see them. The same section is read by NVIDIA's backends, for which the server keeps the states, and by
this project's python-based backend, which keeps them itself (`backends/onnxruntime/sequence_state.py`).

Source: triton-inference-server/server docs/user_guide/architecture.md (stateful models) and
docs/user_guide/implicit_state_management.md.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelSequenceBatching

from conch.contracts.states import swapped_states
from serving.errors import ServingError

# A client that says nothing for a minute is gone; its place and its state are given to another.
IDLE_MICROSECONDS = 60_000_000
# So that requests of sequences that arrive together share one run.
QUEUE_DELAY_MICROSECONDS = 200
# For each instance; a sequence that begins when all places are taken waits for one.
LIVE_SEQUENCES = 1024

INITIAL_FOLDER = "initial_state"
"""The folder inside a model's own that Triton reads first values of states from."""
NO_CONTROLS: Mapping[str, str] = {}

COMMENT = """\
Requests of one correlation id are a sequence; of those under way one request each is run as a batch.
max_sequence_idle_microseconds: without a request for this long a sequence is ended and its state forgotten.
oldest: how many sequences an instance has under way, further ones wait until one has ended; and how long a request
waits for those of other sequences. (direct has no more sequences than rows of a batch.)
state: what the server keeps from one request of a sequence to the next; clients do not see it.
Their names are chosen so that sorting them, as NVIDIA's backend does, pairs each input with its own output."""
"""What each key of the section decides, written above it in config.pbtxt."""


def set_sequence_batching(
    config: ModelConfig,
    states: Sequence[tuple[str, str]],
    controls: Mapping[str, str] = NO_CONTROLS,
) -> None:
    """Move the states of `config` from its inputs and outputs to a `sequence_batching` section.

    With an initial state a graph needs no control inputs to know where a sequence begins; one that has them is told.
    The strategy is `oldest`, not `direct`: `direct` gives an instance as many sequences as a batch has rows, which
    keeps further clients waiting until one of those ends, and fills the rows of silent sequences with null requests.

    Args:
        config: What is described of the graph: all of its inputs and outputs.
        states: Name of each state's input and output.
        controls: Input name -> `start`, `end` or `ready`: bool, int32 or float32, one number an item.

    Raises:
        ServingError: A state is no tensor of the graph, its input and output differ, or their names would be paired
            otherwise by NVIDIA's backend.
    """
    inputs = {tensor.name: tensor for tensor in config.input}
    outputs = {tensor.name: tensor for tensor in config.output}
    for one, other in states:
        where = f"model {config.name!r}, state {one!r} -> {other!r}"
        if one not in inputs or other not in outputs:
            raise ServingError(f"{where}: the graph has the inputs {list(inputs)} and the outputs {list(outputs)}")
        before, after = inputs[one], outputs[other]
        if (before.data_type, list(before.dims)) != (after.data_type, list(after.dims)) or -1 in before.dims:
            raise ServingError(
                f"{where}: its input has the dims {list(before.dims)} and its output {list(after.dims)}; both have to "
                "be of one type and shape, with no axis open but the batch"
            )
    if swapped := swapped_states(states):
        raise ServingError(f"model {config.name!r}: {swapped}, and export the model again")
    batching = config.sequence_batching
    batching.max_sequence_idle_microseconds = IDLE_MICROSECONDS
    batching.oldest.max_candidate_sequences = LIVE_SEQUENCES
    batching.oldest.max_queue_delay_microseconds = QUEUE_DELAY_MICROSECONDS
    for one, other in states:
        _add_state(batching, inputs[one], other)
    for name, kind in controls.items():
        _add_control(batching, inputs[name], kind)
    hidden = {one for one, _ in states} | controls.keys()
    for field, names in (("input", hidden), ("output", {other for _, other in states})):
        kept = [tensor for tensor in getattr(config, field) if tensor.name not in names]
        if not kept:
            raise ServingError(f"model {config.name!r}: all of its {field}s are states, a request has to carry one")
        config.ClearField(field)
        getattr(config, field).extend(kept)


def _add_state(batching: ModelSequenceBatching, tensor: Message, output: str) -> None:
    state = batching.state.add(input_name=tensor.name, output_name=output, data_type=tensor.data_type)
    state.dims.extend(tensor.dims)
    # Without it the first run of a sequence gets uninitialised memory from NVIDIA's backends.
    first = state.initial_state.add(name="zero", data_type=tensor.data_type, zero_data=True)
    first.dims.extend(tensor.dims)


def _add_control(batching: ModelSequenceBatching, tensor: Message, kind: str) -> None:
    control = batching.control_input.add(name=tensor.name).control.add()
    control.kind = ModelSequenceBatching.Control.Kind.Value(f"CONTROL_SEQUENCE_{kind.upper()}")
    values = {DataType.TYPE_BOOL: "bool", DataType.TYPE_INT32: "int32", DataType.TYPE_FP32: "fp32"}
    getattr(control, f"{values[tensor.data_type]}_false_true").extend([0, 1])


def add_initial_states(config: ModelConfig, initial: Mapping[str, np.ndarray], version: str) -> dict[str, bytes]:
    """Let states of `config` begin with values of their own; the files for `INITIAL_FOLDER`, by relative path.

    Args:
        config: The configuration, with states.
        initial: Input name of a state -> its first value, of the state's type and dims.
        version: The folder the files are to lie in.

    Raises:
        ServingError: A value has other dims than its state.
    """
    files = {}
    for number, state in enumerate(config.sequence_batching.state):
        if (value := initial.get(state.input_name)) is None:
            continue
        if list(value.shape) != list(state.dims):
            raise ServingError(
                f"model {config.name!r}, state {state.input_name!r}: its first value has the shape "
                f"{list(value.shape)}, its dims are {list(state.dims)}"
            )
        (first,) = state.initial_state
        first.name = "first"
        first.data_file = f"{version}/{number}"
        files[first.data_file] = np.ascontiguousarray(value).tobytes()
    return files


def initial_values(config: ModelConfig, model: Path) -> dict[str, bytes]:
    """Input name -> first value, of the states that do not begin with zeros in the model's folder; empty if gone."""
    found = {}
    for state in config.sequence_batching.state:
        if state.initial_state and (file := state.initial_state[0].data_file):
            path = model / INITIAL_FOLDER / file
            found[state.input_name] = path.read_bytes() if path.is_file() else b""
    return found
