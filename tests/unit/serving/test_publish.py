"""A version appears in the repository whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from clients.preparation import KEYS, Fit, Preparation, described
from conch.contracts.owned import LOCK
from conch.contracts.versions import latest_version
from conch.contracts.whole import PREFIX
from serving.commands import publish as command
from serving.errors import ServingError
from serving.repository.configuration import PARAMETER_COMMENTS, parse
from serving.repository.publish import publish
from tests.support import graphs

GOLDEN = {
    "inputs/x": np.ones((3, 4), np.float32),
    "outputs/doubled": np.full((3, 4), 2, np.float32),
    "outputs/total": np.full(3, 4, np.float32),
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def put(tmp_path: Path, repository: Path) -> Callable[..., Path]:
    """Publish the affine model; keyword arguments replace what is published."""
    onnx_file = graphs.write(graphs.AFFINE, tmp_path / "affine.onnx")

    def put(**changes: Any) -> Path:
        what: dict[str, Any] = {
            "onnx_file": onnx_file,
            "name": "affine",
            "max_batch_size": 8,
            "manifest": {"recipe": "affine", "sha256": {"weights": "abc"}},
            "parity": [{"batch": 1, "worst": 0.0}],
            "golden": GOLDEN,
        }
        return publish(repository=repository, **(what | changes))

    return put


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_version_is_complete(put: Callable[..., Path], repository: Path, tmp_path: Path) -> None:
    version = put(labels={"doubled": ["a", "b", "c", "d"]})
    assert version == repository / "affine" / "1"
    files = ["golden.npz", "manifest.json", "model.onnx", "parity.json"]
    beside = ["config.pbtxt", "labels.txt", "warmup", "warmup/1", "warmup/1/x"]
    assert tree(repository / "affine") == ["1", *(f"1/{file}" for file in files), *beside]
    assert (repository / "affine" / "labels.txt").read_text() == "a\nb\nc\nd\n"
    with np.load(version / "golden.npz") as golden:
        as_kept = GOLDEN | {"outputs/total": GOLDEN["outputs/total"].reshape(3, 1)}
        assert {key: golden[key].tolist() for key in golden} == {key: a.tolist() for key, a in as_kept.items()}
    manifest = json.loads((version / "manifest.json").read_text())
    assert (manifest["recipe"], manifest["model"], manifest["version"]) == ("affine", "affine", 1)
    assert manifest["created"].endswith("+00:00")
    assert manifest["sha256"]["weights"] == "abc"
    for key, file in {"onnx": version / "model.onnx", "golden": version / "golden.npz"}.items():
        assert manifest["sha256"][key] == hashlib.sha256(file.read_bytes()).hexdigest()
    config = repository / "affine" / "config.pbtxt"
    assert manifest["sha256"]["config"] == hashlib.sha256(config.read_bytes()).hexdigest()
    assert tree(tmp_path)[0] == "affine.onnx", "nothing is left beside the repository"


def test_versions_increase(put: Callable[..., Path], repository: Path) -> None:
    assert latest_version(repository, "affine") is None
    assert [put().name, put().name] == ["1", "2"]
    (repository / "affine" / "10").mkdir()
    (repository / "affine" / "notes").mkdir()
    assert put().name == "11"
    assert latest_version(repository, "affine") == repository / "affine" / "11"


def test_a_model_with_other_tensors_is_served_alone(put: Callable[..., Path], repository: Path, tmp_path: Path) -> None:
    def served() -> int:
        return parse((repository / "affine" / "config.pbtxt").read_text()).version_policy.latest.num_versions

    put()
    put()
    assert served() == 2
    other = {
        "onnx_file": graphs.write(graphs.DROPPING, tmp_path / "other.onnx"),
        "golden": {"inputs/x": GOLDEN["inputs/x"], "outputs/y": GOLDEN["inputs/x"]},
    }
    put(**other)
    assert served() == 1
    put(**other)
    assert served() == 2


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/tmp/x", "a b", "-flag", "ö", "x" * 200, "line\nbreak"])
def test_names_that_are_no_safe_folder_names_are_refused(name: str, put: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="no safe folder name"):
        put(name=name)
    assert tree(tmp_path) == ["affine.onnx"]


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        ({}, r"golden has \[\], the model needs \['inputs/x', "),
        (GOLDEN | {"outputs/total": np.ones(2)}, "differ in their number of rows.*'outputs/total': 2"),
        (GOLDEN | {"outputs/total": np.array(["a"], object)}, "hold objects"),
        (GOLDEN | {"outputs/total": np.float32(2)}, "differ in their number of rows.*'outputs/total': 'none'"),
    ],
)
def test_golden_arrays_that_do_not_fit_are_refused(
    golden: dict[str, np.ndarray], message: str, put: Callable[..., Path], repository: Path
) -> None:
    with pytest.raises(ServingError, match=message):
        put(golden=golden)
    assert not repository.exists()


@pytest.mark.parametrize(
    ("owner", "function"),
    [(shutil, "copyfile"), (np, "savez_compressed"), (Path, "write_text"), (os, "fsync"), (Path, "rename")],
)
def test_a_failure_leaves_nothing_half_written(
    owner: object,
    function: str,
    put: Callable[..., Path],
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put()
    before = tree(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(owner, function, full)
    for name in ("affine", "another"):
        with pytest.raises(ServingError, match=f"cannot publish model '{name}' in .*: No space left on device"):
            put(name=name)
    assert tree(tmp_path) == before


def test_what_a_killed_publisher_left_is_removed(put: Callable[..., Path], tmp_path: Path) -> None:
    dead = tmp_path / f"{PREFIX}dead"
    dead.mkdir()
    (dead / LOCK).touch()
    put()
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_a_repository_that_cannot_be_made_is_one_clear_error(put: Callable[..., Path], repository: Path) -> None:
    repository.write_text("a file")
    with pytest.raises(ServingError, match=r"models is a file, a model repository is a folder"):
        put()


def test_external_data_are_published_with_their_hashes(
    put: Callable[..., Path], tmp_path: Path, repository: Path
) -> None:
    model = onnx.load(graphs.write(graphs.CLASSIFY, tmp_path / "classify.onnx"))
    for tensor in model.graph.initializer:  # raw bytes, the one form that can be kept outside
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    (tmp_path / "parts").mkdir()
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, size_threshold=100, location="parts/weights")
    golden: dict[str, np.ndarray] = {
        "inputs/image": np.zeros((2, 4, 4, 1), np.uint8),
        "outputs/probabilities": np.full((2, 3), 1 / 3, np.float32),
    }
    version = put(onnx_file=tmp_path / "split.onnx", name="split", golden=golden)
    data = (version / "parts" / "weights").read_bytes()
    assert data == (tmp_path / "parts" / "weights").read_bytes()
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["sha256"]["external_data"] == {"parts/weights": hashlib.sha256(data).hexdigest()}
    answers = onnxruntime.InferenceSession(version / "model.onnx").run(None, {"image": golden["inputs/image"]})
    np.testing.assert_allclose(np.asarray(answers[0]), golden["outputs/probabilities"], rtol=1e-6)


def test_labels_of_before_are_removed(put: Callable[..., Path], repository: Path) -> None:
    put(labels={"doubled": ["a", "b", "c", "d"]})
    put()
    assert not (repository / "affine" / "labels.txt").exists()


IMAGE = """
picture (uint8[batch, 4, 4, 3] image) => (float[batch, 4, 4, 3] x) { x = Cast <to = 1> (image) }
"""
IMAGE_GOLDEN = {"inputs/image": np.ones((1, 4, 4, 3), np.uint8), "outputs/x": np.ones((1, 4, 4, 3), np.float32)}


def test_how_pictures_are_prepared_is_in_the_configuration(put: Callable[..., Path], tmp_path: Path) -> None:
    picture = {"onnx_file": graphs.write(IMAGE, tmp_path / "picture.onnx"), "golden": IMAGE_GOLDEN, "name": "picture"}
    version = put(**picture, preparation=Preparation("stretch", white_level=4095))
    text = (version.parent / "config.pbtxt").read_text()
    said = {key: entry.string_value for key, entry in parse(text).parameters.items()}
    assert described(said) == Preparation("stretch", white_level=4095)
    assert "How a client brings a picture of another shape to the input's" in text
    assert all(key in PARAMETER_COMMENTS for key in KEYS)


def test_the_command_says_how_pictures_are_prepared(tmp_path: Path) -> None:
    file = graphs.write(IMAGE, tmp_path / "picture.onnx")
    cases: list[tuple[Fit | None, float | None, Preparation | None]] = [
        (None, None, None),
        ("stretch", None, Preparation("stretch")),
        (None, 4095, Preparation(white_level=4095)),
    ]
    for fit, white, expected in cases:
        command.publish(file, "picture", picture_fit=fit, picture_white_level=white, repository=tmp_path / "models")
        config = parse((tmp_path / "models" / "picture" / "config.pbtxt").read_text())
        assert described({key: entry.string_value for key, entry in config.parameters.items()}) == expected
    with pytest.raises(ServingError, match="picture_white_level is -1"):
        command.publish(file, "picture", picture_white_level=-1, repository=tmp_path / "models")


def test_a_version_with_other_pictures_is_served_alone(
    put: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One configuration tells clients of both versions how: they would prepare wrongly for the one before."""
    picture = {"onnx_file": graphs.write(IMAGE, tmp_path / "picture.onnx"), "golden": IMAGE_GOLDEN, "name": "picture"}
    for preparation, served in ((Preparation(), 2), (Preparation(), 2), (Preparation("stretch"), 1), (None, 1)):
        version = put(**picture, preparation=preparation)
        assert parse((version.parent / "config.pbtxt").read_text()).version_policy.latest.num_versions == served
    assert "how its pictures are prepared changed, version 2 is not served any more" in caplog.text


def test_pictures_for_a_model_that_takes_none_are_refused(put: Callable[..., Path]) -> None:
    with pytest.raises(ServingError, match=r"needs one input UINT8 .*; it has: x FP32 \[4\]"):
        put(preparation=Preparation())
