"""config.pbtxt is the ONNX file's own tensors, readable, and parses back to what it was made from."""

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from serving.errors import ServingError
from serving.repository.configuration import label_file, model_config, parse, render
from tests.support import graphs
from tests.support.lint_cases import HALVES, TEXT

LABELS = {"probabilities": ("cat", "dog", "a bird")}


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return graphs.write(graphs.CLASSIFY, tmp_path / "classify.onnx")


def test_tensors_are_the_graphs_own(classifier: Path) -> None:
    config = model_config(classifier, "classify", 8, LABELS)
    assert config.backend == "onnxruntime"
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [("image", DataType.TYPE_UINT8, [4, 4, 1])]
    assert [(t.name, t.data_type, list(t.dims)) for t in config.output] == [("probabilities", DataType.TYPE_FP32, [3])]
    assert config.HasField("dynamic_batching")
    assert not config.dynamic_batching.max_queue_delay_microseconds, "a request alone waits for nobody"
    assert config.version_policy.latest.num_versions == 2


def test_labels_are_named_and_written(classifier: Path) -> None:
    config = model_config(classifier, "classify", 8, LABELS)
    assert config.output[0].label_filename == "labels.txt"
    assert label_file(LABELS) == "cat\ndog\na bird\n"
    assert label_file({}) is None


def test_symbolic_axes_are_open_and_a_number_an_item_is_reshaped(tmp_path: Path) -> None:
    lengths = model_config(graphs.write(graphs.LENGTHS, tmp_path / "lengths.onnx"), "lengths", 4)
    assert list(lengths.input[0].dims) == [-1]
    assert list(lengths.output[0].dims) == [-1, 2]
    affine = model_config(graphs.write(graphs.AFFINE, tmp_path / "affine.onnx"), "affine", 4)
    total = affine.output[1]
    assert list(total.dims) == [1]
    assert total.HasField("reshape")
    assert list(total.reshape.shape) == []


def test_every_type_is_translated(tmp_path: Path) -> None:
    config = model_config(graphs.write(graphs.IDENTITIES, tmp_path / "types.onnx"), "types", 4)
    shown = [DataType.Name(tensor.data_type).removeprefix("TYPE_") for tensor in config.input]
    assert shown == [name.replace("BYTES", "STRING") for name in graphs.TYPES.values()]


def test_no_batch_axis(tmp_path: Path) -> None:
    config = model_config(graphs.write(graphs.UNBATCHED, tmp_path / "m.onnx"), "unbatched", 0)
    assert list(config.input[0].dims) == [2, 3]
    assert not config.HasField("dynamic_batching")


@pytest.mark.parametrize("graph", [graphs.CLASSIFY, graphs.AFFINE, graphs.LENGTHS, graphs.IDENTITIES])
def test_the_text_parses_back_to_the_same_message(graph: str, tmp_path: Path) -> None:
    labels = LABELS if graph is graphs.CLASSIFY else {}
    config = model_config(graphs.write(graph, tmp_path / "model.onnx"), "model", 8, labels)
    assert text_format.Parse(render(config), ModelConfig()) == config


def test_every_section_says_what_it_decides(classifier: Path) -> None:
    for section in render(model_config(classifier, "classify", 8, LABELS)).strip().split("\n\n"):
        assert section.startswith("# "), section


def test_a_broken_text_is_refused() -> None:
    with pytest.raises(ServingError, match=r"no valid config.pbtxt.*nonsense"):
        parse("nonsense: 3")


@pytest.mark.parametrize(
    ("graph", "batch", "labels", "message"),
    [
        (graphs.UNBATCHED, 4, {}, r"input 'x': dimension 0 is fixed to 2, .* symbolic batch axis"),
        (graphs.CLASSIFY, -1, {}, "max_batch_size is -1"),
        (graphs.CLASSIFY, 4, {"probabilities": ["a", "b"]}, "got 2 labels for an axis of 3"),
        (graphs.CLASSIFY, 4, {"probabilities": ["a", "b\n", "c"]}, "a label is one line of text"),
        (TEXT, 4, {"same": ["a"]}, "labels of output 'same': it is TYPE_STRING, of which Triton finds no classes"),
        (HALVES, 4, {"probabilities": ["a", "b", "c"]}, "it is TYPE_FP16, of which Triton finds no classes"),
        (graphs.CLASSIFY, 4, {"nothing": ["a"]}, r"no such output, there are \['probabilities'\]"),
        ("g (bfloat16[batch] x) => (bfloat16[batch] y) { y = Identity(x) }", 4, {}, r"type tensor\(bfloat16\)"),
    ],
)
def test_what_cannot_be_served_is_refused(
    graph: str, batch: int, labels: dict[str, list[str]], message: str, tmp_path: Path
) -> None:
    file = graphs.write(graph, tmp_path / "model.onnx")
    with pytest.raises(ServingError, match=message):
        model_config(file, "model", batch, labels)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="there is no ONNX file"):
        model_config(tmp_path / "none.onnx", "model", 4)
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ServingError, match="no readable ONNX file"):
        model_config(tmp_path / "bad.onnx", "model", 4)
    onnx.save(onnx.ModelProto(ir_version=10), tmp_path / "empty.onnx")
    with pytest.raises(ServingError, match="it is no ONNX model"):
        model_config(tmp_path / "empty.onnx", "model", 4)
