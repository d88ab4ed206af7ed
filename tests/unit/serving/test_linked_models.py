"""What Triton's Python backend cannot be given is left out with its reason, wherever the repository lies."""

import re
import tempfile
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.server import server_folder
from serving.server.linked_models import PLAIN_PATH, link_models, take_out


def model(folder: Path, config: str = "") -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)


def test_models_are_linked_wherever_they_lie(tmp_path: Path) -> None:
    repository = tmp_path / "my models; käse"
    model(repository / "good")
    (repository / "notes.txt").write_text("no model")
    assert link_models(repository, tmp_path / "links") == {}
    assert (tmp_path / "links" / "good").resolve() == (repository / "good").resolve()
    model(repository / "later")
    assert (tmp_path / "links" / "later").is_dir(), "published while the server runs"


def test_taking_a_model_out_leaves_the_repository_alone(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    for name in ("good", "dies", "worse"):
        model(repository / name)
    link_models(repository, tmp_path / "links")
    take_out(tmp_path / "links", ["dies"])
    take_out(tmp_path / "links", ["worse", "nobody"])
    assert [link.name for link in (tmp_path / "links").iterdir()] == ["good"]
    assert sorted(folder.name for folder in repository.iterdir()) == ["dies", "good", "worse"]


@pytest.mark.parametrize("name", ["two words", "käse", "a;touch pwned", "$(touch pwned)", ".cache", "a'b"])
def test_a_name_that_a_shell_or_the_stub_would_not_take_is_left_out(name: str, tmp_path: Path) -> None:
    for folder in (name, "good"):
        model(tmp_path / "models" / folder)
    left_out = link_models(tmp_path / "models", tmp_path / "links")
    assert left_out.keys() == {name}
    assert "its folder's name has to be of letters" in left_out[name]
    assert [link.name for link in (tmp_path / "links").iterdir()] == ["good"]


def test_a_link_to_nowhere_is_left_out(tmp_path: Path) -> None:
    """Triton would wait for it for ever."""
    model(tmp_path / "models" / "good")
    (tmp_path / "models" / "gone").symlink_to("/nowhere")
    (tmp_path / "models" / "itself").symlink_to("itself")
    left_out = link_models(tmp_path / "models", tmp_path / "links")
    assert left_out == {
        "gone": "it is a link to /nowhere, which is not there: remove or mend it",
        "itself": "it is a link to itself, which is not there: remove or mend it",
    }
    assert [link.name for link in (tmp_path / "links").iterdir()] == ["good"]


@pytest.mark.parametrize("file", ["my model.onnx", "käse.onnx", "a;b.onnx"])
def test_so_is_such_a_file(file: str, tmp_path: Path) -> None:
    model(tmp_path / "models" / "named", f'default_model_filename: "{file}"')
    model(tmp_path / "models" / "other", 'default_model_filename: "net.onnx"')
    model(tmp_path / "models" / "broken", "nonsense: {")  # which Triton says better
    left_out = link_models(tmp_path / "models", tmp_path / "links")
    assert left_out == {
        "named": f"default_model_filename is {file!r}, it has to be of letters, digits, '_', '.' and '-': "
        "rename the file"
    }


def test_the_servers_own_folder_has_a_plain_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my temporary files").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "my temporary files"))
    with server_folder.server_folder() as folder:
        assert PLAIN_PATH.fullmatch(str(folder))
    monkeypatch.setattr(server_folder, "PLAIN_PATH", re.compile("nothing"))
    refused = pytest.raises(ServingError, match="my temporary files is none and /tmp cannot be written: set TMPDIR")
    with refused, server_folder.server_folder():
        pass
