"""Rules about models that keep states: the `sequence_batching` section against the ONNX file."""

from collections.abc import Iterator

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelSequenceBatching

from conch.contracts.states import swapped_states
from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder


@rule("state-not-in-graph", "error")
def state_not_in_graph(model: ModelFolder) -> Iterator[Found]:
    """A state names an input or output that the graph does not have."""
    for version, graph in model.tensors.items():
        inputs = [tensor.name for tensor in graph.input]
        outputs = [tensor.name for tensor in graph.output]
        for state in model.config.sequence_batching.state:
            for field, name, names in (
                ("input_name", state.input_name, inputs),
                ("output_name", state.output_name, outputs),
            ):
                if name not in names:
                    yield Found(f"state {state.input_name!r}.{field}", repr(name), f"of version {version}: {names}")


@rule("state-tensor", "error")
def state_tensor(model: ModelFolder) -> Iterator[Found]:
    """A state's type or dims are not those of its tensors in the graph."""
    batched = model.config.max_batch_size > 0
    for version, graph in model.tensors.items():
        tensors = {tensor.name: tensor for tensor in (*graph.input, *graph.output)}
        for state in model.config.sequence_batching.state:
            for name in (state.input_name, state.output_name):
                if name not in tensors:
                    continue
                tensor = tensors[name]
                dims = list(tensor.dims)[1:] if batched else list(tensor.dims)
                if (state.data_type, list(state.dims)) != (tensor.data_type, dims):
                    yield Found(
                        f"state {state.input_name!r}",
                        f"{DataType.Name(state.data_type)} {list(state.dims)}",
                        f"{DataType.Name(tensor.data_type)} {dims}, as {name!r} is in version {version}",
                    )


@rule("states-swapped", "error", loads=True)
def states_swapped(model: ModelFolder) -> Iterator[Found]:
    """NVIDIA's backend pairs states by the order of their names, not by entry: some would be exchanged."""
    states = [(state.input_name, state.output_name) for state in model.config.sequence_batching.state]
    if reason := swapped_states(states):
        yield Found("sequence_batching.state", reason, "names that sort alike", "export with such names")


@rule("state-uninitialised", "error", loads=True)
def state_uninitialised(model: ModelFolder) -> Iterator[Found]:
    """Without `initial_state` NVIDIA's backends begin a sequence with whatever is in the memory."""

    def zero(config: ModelConfig) -> dict[str, bytes]:
        for state in config.sequence_batching.state:
            if not state.initial_state:
                first = state.initial_state.add(name="zero", data_type=state.data_type, zero_data=True)
                first.dims.extend(state.dims)
        return {}

    for state in model.config.sequence_batching.state:
        if not state.initial_state:
            change = zero if -1 not in state.dims else None
            yield Found(
                f"state {state.input_name!r}.initial_state",
                "none",
                "zeros, or a file",
                "" if change else "write one with the size of each axis",
                change,
            )


@rule("control-not-in-graph", "error", loads=True)
def control_not_in_graph(model: ModelFolder) -> Iterator[Found]:
    """A control input (start, end, ready, correlation id) is no input of the graph."""
    for version, graph in model.tensors.items():
        names = [tensor.name for tensor in graph.input]
        for control in model.config.sequence_batching.control_input:
            if control.name not in names:
                yield Found(
                    f"control_input {control.name!r}",
                    "not in the graph",
                    f"of version {version}: {names}",
                    "remove it: a graph that does not ask for a control needs none",
                )


@rule("direct-without-ready", "error", loads=True)
def direct_without_ready(model: ModelFolder) -> Iterator[Found]:
    """`direct` fills a batch up with null requests of any content; without a control for ready they fail it."""
    config = model.config
    batching = config.sequence_batching
    if not model.is_onnx or not config.HasField("sequence_batching") or batching.HasField("oldest"):
        return
    if config.max_batch_size <= 1:
        return  # a batch of one is never filled up
    controls = [control.kind for entry in batching.control_input for control in entry.control]
    if ModelSequenceBatching.Control.CONTROL_SEQUENCE_READY not in controls:
        yield Found(
            "sequence_batching.direct" if batching.HasField("direct") else "sequence_batching",
            "direct" + ("" if batching.HasField("direct") else ", the default,") + " without a control for ready",
            "a control_input of kind CONTROL_SEQUENCE_READY that the graph takes, or oldest",
            "write sequence_batching { oldest { max_candidate_sequences: 1024 } }, which fills up nothing",
        )
