"""What a running server sees of a model is what it served when it was started, until a rollout says otherwise."""

import os
from pathlib import Path

import pytest

from serving.server.linked_models import link_models, take_out
from serving.server.model_views import MARK, mark_all, mark_changed, view_versions


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with two versions, and all that a configuration may name."""
    folder = tmp_path / "models" / "times"
    for version in ("1", "2"):
        (folder / version).mkdir(parents=True)
    for name in ("warmup", "initial_state", ".conch-staging-x", "configs"):
        (folder / name).mkdir()
    (folder / "configs" / "1.pbtxt").write_text("of 1")
    (folder / "config.pbtxt").write_text("of 2")
    (folder / "other_labels.txt").write_text("cat")
    return folder


def seen(models: Path) -> set[str]:
    return {entry.name for entry in (models / "times").iterdir()}


def test_a_load_anew_brings_nothing_new(model: Path, tmp_path: Path) -> None:
    models = tmp_path / "links"
    assert link_models(model.parent, models) == {}
    mark_all(models, model.parent)
    kept = {"warmup", "initial_state", "other_labels.txt", "config.pbtxt", MARK}
    assert seen(models) == kept | {"1", "2"}
    (model / "3").mkdir()
    (model / "configs" / "2.pbtxt").write_text("of 2")
    (model / "config.pbtxt").write_text("of 3")
    os.utime(models / "times" / MARK, (0, 0))
    mark_changed(models, model)
    assert seen(models) == kept | {"1", "2"}, "3 is published, but not live"
    assert (models / "times" / "config.pbtxt").read_text() == "of 2"
    assert (models / "times" / MARK).stat().st_mtime > 0
    assert not (model / MARK).exists()


def test_a_view_changes_in_what_is_changed_alone(model: Path, tmp_path: Path) -> None:
    """Triton loads a version again whose files seem to have changed."""
    models = tmp_path / "links"
    link_models(model.parent, models)
    mark_all(models, model.parent)
    before = {entry.name: entry.lstat().st_ctime_ns for entry in (models / "times").iterdir()}
    view_versions(models, model, 1)
    after = {entry.name: entry.lstat().st_ctime_ns for entry in (models / "times").iterdir()}
    assert before.keys() - after.keys() == {"2"}
    assert {name for name in after if after[name] != before[name]} == {"config.pbtxt"}
    assert (models / "times" / "config.pbtxt").read_text() == "of 1"


def test_a_view_can_be_taken_out(model: Path, tmp_path: Path) -> None:
    models = tmp_path / "links"
    link_models(model.parent, models)
    mark_all(models, model.parent)
    take_out(models, ["times"])
    assert list(models.iterdir()) == []
    assert (model / "2").is_dir()
