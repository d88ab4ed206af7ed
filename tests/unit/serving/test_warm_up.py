"""What is written for the server's warm-up: each batch size the batcher can form, from the first golden item."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.errors import ServingError
from serving.repository.configuration import model_config, parse
from serving.repository.publish import publish
from serving.repository.warm_up import add_warm_up, batch_sizes, repeat_for_batches
from tests.support import graphs


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(0, [1]), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])],
)
def test_batch_sizes(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


def config_of(text: str, folder: Path, most: int) -> ModelConfig:
    return model_config(graphs.write(text, folder / "model.onnx"), "model", most)


def test_a_sample_for_each_size_from_the_first_item(tmp_path: Path) -> None:
    config = config_of(graphs.LENGTHS, tmp_path, 6)
    files = add_warm_up(config, {"inputs/tokens": np.array([[7, 8, 9], [1, 2, 3]])}, "4")
    assert files == {"4/tokens": np.array([7, 8, 9]).tobytes()}
    assert [(sample.name, sample.batch_size) for sample in config.model_warmup] == [
        ("batch of 1", 1), ("batch of 2", 2), ("batch of 4", 4), ("batch of 6", 6),
    ]  # fmt: skip
    for sample in config.model_warmup:
        assert list(sample.inputs["tokens"].dims) == [3]
        assert sample.inputs["tokens"].input_data_file == "4/tokens"
    config.max_batch_size = 2
    repeat_for_batches(config)
    assert [sample.batch_size for sample in config.model_warmup] == [1, 2]
    assert list(config.model_warmup[1].inputs["tokens"].dims) == [3]


def test_text_is_written_after_its_length_and_odd_names_are_numbered(tmp_path: Path) -> None:
    config = config_of('g (string[n, 2] "../x") => (string[n, 2] y) { y = Identity("../x") }', tmp_path, 1)
    files = add_warm_up(config, {"inputs/../x": np.array([["ä", ""]])}, "1")
    assert files == {"1/input_0": b"\x02\0\0\0" + "ä".encode() + b"\0\0\0\0"}


def test_numbers_without_an_axis_are_sent_as_one(tmp_path: Path) -> None:
    config = config_of("g (double[n] x, bool[n] flag) => (double[n] y) { y = Where(flag, x, x) }", tmp_path, 1)
    files = add_warm_up(config, {"inputs/x": np.array([2.5]), "inputs/flag": np.array([[True]])}, "1")
    assert {name: len(data) for name, data in files.items()} == {"1/x": 8, "1/flag": 1}
    assert list(config.model_warmup[0].inputs["x"].dims) == [1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((1, 4)), r"golden inputs of 'x' are float64 \[4\] an item, the model takes TYPE_FP32 \[4\]"),
        (np.ones((1, 3), np.float32), r"are float32 \[3\] an item"),
        (np.ones((1, 4, 1), np.float32), r"are float32 \[4, 1\] an item"),
    ],
)
def test_golden_inputs_of_another_type_or_shape_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        add_warm_up(config_of(graphs.AFFINE, tmp_path, 8), {"inputs/x": array}, "1")


def test_nothing_to_send_is_no_warm_up(tmp_path: Path) -> None:
    config = config_of(graphs.LENGTHS, tmp_path, 8)
    assert add_warm_up(config, {"inputs/tokens": np.zeros((1, 0), np.int64)}, "1") == {}
    assert not config.model_warmup


def test_the_inputs_of_each_version_are_kept_for_as_long_as_it_is_there(tmp_path: Path) -> None:
    file = graphs.write(graphs.AFFINE, tmp_path / "affine.onnx")
    for version in (1, 2, 3):
        if version == 3:
            shutil.rmtree(tmp_path / "models" / "affine" / "1")
        publish(
            file, name="affine", repository=tmp_path / "models", max_batch_size=2, manifest={}, parity=[],
            golden=graphs.golden(file),
        )  # fmt: skip
        config = parse((tmp_path / "models" / "affine" / "config.pbtxt").read_text())
        assert config.model_warmup[0].inputs["x"].input_data_file == f"{version}/x"
    assert sorted(folder.name for folder in (tmp_path / "models" / "affine" / "warmup").iterdir()) == ["2", "3"]
