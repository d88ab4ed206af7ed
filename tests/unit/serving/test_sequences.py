"""The `sequence_batching` section of a model with states, and what it refuses."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.errors import ServingError
from serving.repository.configuration import model_config, parse, render

STATES = [("c_in", "c_out"), ("h_in", "h_out")]


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """y = x, and two states that are handed through; `wide` is a third of an open shape."""

    def value(name: str, *dims: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims])

    pairs = [("x", "y"), *STATES, ("wide_in", "wide_out")]
    shapes = {"x": (1,), "c_in": (2, 3), "h_in": (2, 3), "wide_in": ("width",)}
    graph = helper.make_graph(
        [helper.make_node("Identity", [one], [other]) for one, other in pairs],
        "stream",
        [value(one, *shapes[one]) for one, _ in pairs],
        [value(other, *shapes[one]) for one, other in pairs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_states_are_the_server_s_and_not_on_the_wire(stream: Path) -> None:
    config = model_config(stream, "stream", 8, states=STATES)
    assert [tensor.name for tensor in config.input] == ["x", "wide_in"]
    assert [tensor.name for tensor in config.output] == ["y", "wide_out"]
    assert config.WhichOneof("scheduling_choice") == "sequence_batching"
    batching = config.sequence_batching
    assert batching.WhichOneof("strategy_choice") == "oldest"
    assert batching.oldest.max_candidate_sequences == 1024
    assert batching.max_sequence_idle_microseconds == 60_000_000
    assert not batching.control_input
    for state, (one, other) in zip(batching.state, STATES, strict=True):
        assert (state.input_name, state.output_name) == (one, other)
        assert (state.data_type, list(state.dims)) == (DataType.TYPE_FP32, [2, 3])
        (first,) = state.initial_state
        assert first.zero_data
        assert first.name
        assert (first.data_type, list(first.dims)) == (DataType.TYPE_FP32, [2, 3])


def test_the_section_is_explained_and_parses_back(stream: Path) -> None:
    config = model_config(stream, "stream", 8, states=STATES)
    text = render(config)
    assert parse(text) == config
    comment = text[: text.index("sequence_batching {")].rsplit("\n\n", 1)[1]
    for key in ("max_sequence_idle_microseconds", "oldest", "state"):
        assert f"# {key}:" in comment


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([("none", "c_out")], r"model 'stream', state 'none' -> 'c_out': the graph has the inputs \['x', 'c_in'"),
        ([("c_in", "y")], r"its input has the dims \[2, 3\] and its output \[1\]"),
        ([("wide_in", "wide_out")], "with no axis open but the batch"),
        ([("c_in", "h_out"), ("h_in", "c_out")], "would pair 'c_in' with 'c_out'; name them alike"),
    ],
)
def test_a_state_that_would_be_lost_or_swapped_is_refused(
    stream: Path, states: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(ServingError, match=words):
        model_config(stream, "stream", 8, states=states)


def test_a_model_of_nothing_but_states_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("a_in", TensorProto.FLOAT, ["batch", 1])
    other = helper.make_tensor_value_info("a_out", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph([helper.make_node("Identity", ["a_in"], ["a_out"])], "g", [value], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ServingError, match="all of its inputs are states"):
        model_config(tmp_path / "model.onnx", "only", 8, states=[("a_in", "a_out")])


def test_without_states_requests_are_batched_as_before(stream: Path) -> None:
    assert isinstance(model_config(stream, "stream", 8), ModelConfig)
    assert model_config(stream, "stream", 8).WhichOneof("scheduling_choice") == "dynamic_batching"
