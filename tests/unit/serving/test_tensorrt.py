"""`serving publish --tensorrt`: what NVIDIA's released backends honour, with one folder of engines a version."""

from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.lint.check import lint_model
from serving.repository.configuration import model_config, parse, render
from serving.repository.foreign import publish_file
from serving.repository.tensorrt import accelerate, check_cache
from tests.support import graphs
from tests.unit.serving.conftest import Import


def tensorrt(config_file: Path) -> dict[str, str]:
    """The parameters of the tensorrt accelerator."""
    listed = parse(config_file.read_text()).optimization.execution_accelerators.gpu_execution_accelerator
    (entry,) = [entry for entry in listed if entry.name == "tensorrt"]
    return dict(entry.parameters)


def test_each_version_has_engines_of_its_own_and_is_served_alone(tmp_path: Path) -> None:
    model = tmp_path / "models" / "classify"
    for version, weights in (("1", graphs.CLASSIFY), ("2", graphs.CLASSIFY.replace("0.", "1."))):
        file = graphs.write(weights, tmp_path / "model.onnx")
        publish_file(file, "classify", model.parent, engines="/engines")
        assert tensorrt(model / "config.pbtxt") == {
            "precision_mode": "FP16",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": f"/engines/classify-{version}",
            "trt_profile_min_shapes": "image:1x4x4x1",
            "trt_profile_opt_shapes": "image:32x4x4x1",
            "trt_profile_max_shapes": "image:32x4x4x1",
        }
        assert parse((model / "config.pbtxt").read_text()).version_policy.latest.num_versions == 1
        assert lint_model(model, cores=2) == []
    publish_file(file, "classify", model.parent)
    assert "tensorrt" not in (model / "config.pbtxt").read_text()


def test_the_backend_takes_what_is_written(tmp_path: Path, backend: Import) -> None:
    publish_file(graphs.write(graphs.CLASSIFY, tmp_path / "model.onnx"), "classify", tmp_path, engines="/engines")
    options = backend("execution_providers").tensorrt_options(tensorrt(tmp_path / "classify" / "config.pbtxt"))
    assert options["trt_fp16_enable"] == options["trt_engine_cache_enable"] == "True"
    assert options["trt_profile_max_shapes"] == "image:32x4x4x1"


def test_shapes_with_another_open_axis_are_left_to_the_user(tmp_path: Path) -> None:
    config = model_config(graphs.write(graphs.LENGTHS, tmp_path / "model.onnx"), "lengths", 8)
    accelerate(config, "/engines", 3)
    (tmp_path / "config.pbtxt").write_text(render(config))
    assert tensorrt(tmp_path / "config.pbtxt").keys() == {
        "precision_mode", "trt_engine_cache_enable", "trt_engine_cache_path",
    }  # fmt: skip


@pytest.mark.parametrize("folder", ["", "engines", "./engines", "~/engines"])
def test_a_folder_that_depends_on_where_the_server_was_started_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ServingError, match=f"--tensorrt is '{folder}', it has to be an absolute path"):
        check_cache(folder)
    file = graphs.write(graphs.CLASSIFY, tmp_path / "model.onnx")
    with pytest.raises(ServingError, match="has to be an absolute path"):
        publish_file(file, "classify", tmp_path / "models", engines=folder)
    assert not (tmp_path / "models").exists()
