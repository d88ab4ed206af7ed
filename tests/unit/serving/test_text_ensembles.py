"""Three models that are one: published, viewed, pushed and deployed together, and none of them alone."""

import json
import shutil
from pathlib import Path

import pytest

from conch.contracts.ensembles import parts_of, whole_of
from conch.contracts.errors import ConchError
from conch.contracts.live import Decision, decide, live_version
from conch.contracts.versions import versions
from conch.report.evidence import gather
from serving.commands.history import history
from serving.commands.pull import main as pull
from serving.commands.push import main as push
from serving.commands.tune import tune
from serving.deploy.facts import Served, check_together
from serving.errors import ServingError
from serving.lint.check import lint_model
from serving.repository import publication
from serving.repository.configuration import parse
from serving.repository.into_place import move_into_place
from serving.repository.publish import publish
from serving.rollout.going_live import how_to_go_live
from serving.server.linked_models import in_a_folder, link_models
from serving.server.model_options import model_options
from serving.server.model_views import view_both, view_candidate, view_live
from tests.support import graphs
from tests.support.text_ensembles import publish_text

ALL = ("worth", "worth_model", "worth_tokenizer")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ensemble and its parts in version 1."""
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path))
    publish_text(tmp_path / "models")
    return tmp_path / "models"


def config(model: Path) -> str:
    return (model / "config.pbtxt").read_text()


def test_a_version_is_one_number_that_the_ensemble_names(repository: Path) -> None:
    """Also where a part has versions that the whole does not have: it was published alone before."""
    shutil.copytree(repository / "worth_model" / "1", repository / "worth_model" / "4")
    version = publish_text(repository, factor=2)
    assert version.name == "5"
    assert {name: versions(repository / name)[-1] for name in ALL} == dict.fromkeys(ALL, 5)
    assert parts_of(repository / "worth" / "config.pbtxt") == {"worth_tokenizer": 5, "worth_model": 5}
    assert parse(config(repository / "worth")).version_policy.latest.num_versions == 1
    assert parse(config(repository / "worth_tokenizer")).version_policy.latest.num_versions == 2
    assert [whole_of(repository / name) for name in ALL] == [None, "worth", "worth"]
    assert [finding for name in ALL for finding in lint_model(repository / name, cores=8)] == []
    assert list(model_options(repository, {})) == ["--disable-auto-complete-config"]


def test_all_are_published_or_none(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file: file.read_bytes() for file in repository.rglob("*") if file.is_file()}
    monkeypatch.setattr(publication, "move_into_place", _full_disk_at_the_last)
    with pytest.raises(ServingError, match="cannot publish model 'worth_tokenizer' and 'worth_model' and 'worth'"):
        publish_text(repository, factor=2)
    left = {file: file.read_bytes() for file in repository.rglob("*") if file.is_file() and "configs" not in file.parts}
    assert {file: left[file] for file in before} == before
    assert [versions(repository / name) for name in ALL] == [[1]] * 3
    with pytest.raises(ServingError, match="cannot publish"):
        publish_text(repository, "other")
    assert not list(repository.glob("other*"))
    monkeypatch.undo()
    assert publish_text(repository, factor=2).name == "2"


def _full_disk_at_the_last(staged: Path, model: Path, version: int) -> None:
    if not staged.name.endswith(("_tokenizer", "_model")):
        raise OSError(28, "No space left on device")
    move_into_place(staged, model, version)


def test_the_name_of_a_part_that_is_somebody_elses_is_refused(repository: Path) -> None:
    file = graphs.write(graphs.AFFINE, repository.parent / "affine.onnx")
    publish(
        file, name="mine_model", repository=repository, max_batch_size=4, manifest={}, parity=[],
        golden=graphs.golden(file),
    )  # fmt: skip
    with pytest.raises(ServingError, match="a model 'mine_model' is published that is no part of 'mine'"):
        publish_text(repository, "mine")
    assert not (repository / "mine").exists()


def test_a_part_is_live_in_the_version_that_the_live_whole_names(repository: Path, tmp_path: Path) -> None:
    for factor in (2, 3):
        publish_text(repository, factor=factor)
    assert [live_version(repository / name) for name in ALL] == [3, 3, 3]
    decide(repository / "worth", Decision(1, 3, "rollback"))
    assert [live_version(repository / name) for name in ALL] == [1, 1, 1]
    link_models(repository, tmp_path / "links")
    view_live(tmp_path / "links", repository)
    assert [versions(tmp_path / "links" / name) for name in ALL] == [[1]] * 3
    assert parts_of(tmp_path / "links" / "worth" / "config.pbtxt")["worth_model"] == 1
    assert how_to_go_live(repository / "worth_model" / "3") == how_to_go_live(repository / "worth" / "3")
    shutil.rmtree(repository / "worth_model" / "1")
    assert live_version(repository / "worth_model") == 3, "what is named is gone"


def test_a_candidate_has_candidates_for_parts(repository: Path, tmp_path: Path) -> None:
    """And while the whole goes from one version to the other, its parts are served in both, whatever lies between."""
    for factor in (2, 3):
        publish_text(repository, factor=factor)
    links = tmp_path / "links"
    link_models(repository, links)
    in_a_folder(links)
    assert view_candidate(links, repository / "worth", 2) == "worth-candidate"
    assert parts_of(links / "worth-candidate" / "config.pbtxt") == {
        "worth_tokenizer-candidate": 2, "worth_model-candidate": 2
    }  # fmt: skip
    assert parse(config(links / "worth_tokenizer-candidate")).name == "worth_tokenizer-candidate"
    assert versions(links / "worth_model-candidate") == [2]
    for version, before in ((3, 1), (1, 3)):
        view_both(links, repository / "worth_model", version, before)
        assert list(parse(config(links / "worth_model")).version_policy.specific.versions) == [1, 3]
    assert config(repository / "worth_model") != config(links / "worth_model"), "the repository stays as it is"
    kept = repository / "worth_model" / "configs" / "1.pbtxt"
    kept.write_text(kept.read_text().replace("TYPE_INT64", "TYPE_INT32"))
    view_both(links, repository / "worth_model", 3, 1)
    assert not parse(config(links / "worth_model")).version_policy.HasField("specific"), "it would not load"


def test_a_whole_goes_through_a_store_with_its_parts(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_text(repository, factor=2)
    store, there = str(tmp_path / "store"), tmp_path / "there" / "models"
    assert push([store, "worth", "--version", "2"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "worth_tokenizer", "worth_model", "worth"
    ]  # fmt: skip
    assert pull([store, "worth", "--repository", str(there)]) == 0
    assert [versions(there / name) for name in ALL] == [[2]] * 3
    assert pull([store, "--repository", str(tmp_path / "all" / "models")]) == 0
    assert sorted(entry.name for entry in (tmp_path / "all" / "models").iterdir()) == sorted(ALL)
    (repository / "worth_tokenizer" / "1" / "tokenizer.json").write_text("{}")
    assert push([store, "worth", "--version", "1"]) == 1
    assert "1/tokenizer.json is not what was published" in capsys.readouterr().err


def test_what_is_about_the_whole_is_asked_of_the_whole(repository: Path) -> None:
    with pytest.raises(ConchError, match="worth_model is a part of worth and goes with it: conch history worth"):
        history("worth_model")
    with pytest.raises(ServingError, match=r"worth is an ensemble .*: tune worth_tokenizer or worth_model"):
        tune("worth")


def test_a_deployment_has_the_whole_with_its_parts(repository: Path) -> None:
    check_together(repository, dict.fromkeys(ALL, 1))
    for chosen in ({"worth": 1, "worth_model": 1}, {**dict.fromkeys(ALL, 1), "worth_tokenizer": 2}):
        with pytest.raises(ServingError, match=r"version 1 of 'worth' is an ensemble with .*: add worth_tokenizer: 1"):
            check_together(repository, chosen)
    served = {name: Served(name, 1, parse(config(repository / name)), 1, None) for name in ALL}
    assert {name: (model.instances, model.threads) for name, model in served.items()} == {
        "worth": (0, None), "worth_tokenizer": (2, 1), "worth_model": (2, 1)
    }  # fmt: skip


def test_the_chain_of_hashes_reaches_into_the_parts(repository: Path) -> None:
    def broken() -> dict[str, list[str]]:
        return {
            model.name: [link.name for link in model.chain if not link.intact] for model in gather(repository.parent)
        }

    assert broken() == {name: [] for name in ALL}
    recorded = json.loads((repository / "worth" / "1" / "manifest.json").read_text())["sha256"]["parts"]
    assert {"worth_tokenizer/1/tokenizer.json", "worth_tokenizer/1/model.py", "worth_model/1/model.onnx"} <= {*recorded}
    file = repository / "worth_tokenizer" / "1" / "tokenizer.json"
    file.write_text(file.read_text().replace('"good"', '"fine"'))
    assert broken() == {
        "worth": ["worth_tokenizer/1/tokenizer.json"], "worth_model": [], "worth_tokenizer": ["tokenizer.json"]
    }  # fmt: skip
    file.unlink()
    assert broken()["worth"] == ["worth_tokenizer/1/tokenizer.json"]
