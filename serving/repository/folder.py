"""Whether a folder is a model repository, or lies beside one: models in it, versions and model files in those."""

from pathlib import Path

from conch.contracts.versions import is_version
from serving.errors import ServingError


def check_repository(repository: Path) -> list[str]:
    """The models in a repository, by name.

    Raises:
        ServingError: There are none, or the folder is of another level; with the right path, or the command that makes
            one.
    """
    check_level(repository)
    models = sorted(e.name for e in repository.iterdir() if e.is_dir()) if repository.is_dir() else []
    if not models:
        what = "is empty" if repository.is_dir() else "does not exist"
        raise ServingError(f"the model repository {repository} {what}: publish a model with `conch export MODEL`")
    return models


def check_level(repository: Path) -> None:
    """Raise a `ServingError` with the right path for a file, a model's folder, one of its versions, or a folder of
    repositories; what is not there, or has nothing in it, may become a repository."""
    if not repository.is_dir():
        if repository.exists():
            raise ServingError(f"{repository} is a file, a model repository is a folder")
        return
    if _models_in(repository):
        return
    parent = _parent(repository)
    if _is_model(repository):
        raise ServingError(
            f"{repository} is one level too deep for a model repository, it is the folder of a model: "
            f"--repository {parent}"
        )
    if is_version(repository.resolve().name) and _has_model_file(repository):
        raise ServingError(
            f"{repository} is two levels too deep for a model repository, it is a version of a model: "
            f"--repository {_parent(parent)}"
        )
    if inside := [entry for entry in _folders(repository) if _models_in(entry)]:
        raise ServingError(
            f"{repository} is one level too high for a model repository, it has one in it: "
            f"--repository {' or '.join(map(str, inside))}"
        )


def _parent(folder: Path) -> Path:
    """The folder around, of "." too."""
    return folder.parent if folder.name not in ("", "..") else folder.resolve().parent


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _models_in(folder: Path) -> list[Path]:
    return [entry for entry in _folders(folder) if _is_model(entry)]


def _is_model(folder: Path) -> bool:
    return (folder / "config.pbtxt").is_file() or any(
        is_version(entry.name) and _has_model_file(entry) for entry in _folders(folder)
    )


def _has_model_file(version: Path) -> bool:
    """Under a name that backends take by themselves, as `model.onnx`, `model.py`, `model.plan`."""
    return any(version.glob("model.*"))
