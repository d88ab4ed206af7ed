"""What a running server sees of one model: links to the versions that it is to serve, and their configuration.

The server's folder of models has, instead of a link to a model's folder, a folder of links. What is added to it or
taken from it is served by the next load of that model, and the repository stays as it is. The links to versions that
stay are not touched: Triton loads a version again whose files seem to have changed, and its sequences would be lost.

Source: triton-inference-server/core src/model_repository_manager/model_repository_manager.cc, Poll (what is modified).
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from conch.contracts.live import (
    CONFIG,
    FOLDER_OF_CONFIGS,
    LABELS,
    config_file,
    labels_file,
    live_version,
)
from conch.contracts.live import FILE as HISTORY
from conch.contracts.versions import versions
from serving.errors import ServingError
from serving.repository.configuration import parse, render
from serving.repository.contract import contract_of
from serving.server.linked_models import in_a_folder

CANDIDATE = "-candidate"
"""Behind a model's name in the name under which a version is shown before clients get it."""
NOTICE = "-rollout"
"""Behind a model's name in the name of what tells its clients of the candidate: `serving/rollout/notice.py`."""
MARK = "conch-loaded-anew"
"""A file of the view of a model, which no repository has."""


def view_versions(models: Path, model: Path, live: int) -> None:
    """Have the server see the versions up to `live` of the model whose folder in the repository is `model`.

    Raises:
        OSError: The links cannot be made.
    """
    view = models / model.name
    if view.is_symlink():
        view.unlink()
    view.mkdir(parents=True, exist_ok=True)
    wanted = _beside_versions(model, live) | {str(n): model / str(n) for n in versions(model) if n <= live}
    _link(view, {CONFIG: config_file(model, live)} | wanted, keep=[MARK])


def view_both(models: Path, model: Path, version: int, before: int) -> None:
    """Have the server see and serve both versions of a part, while the whole goes from `before` to `version`.

    One configuration cannot describe two that take or give other tensors: of these it sees `version` alone, and
    requests to the whole fail until that has followed.

    Raises:
        OSError: The links cannot be made.
    """
    configs = [parse(config_file(model, number).read_text(encoding="utf-8")) for number in (version, before)]
    if contract_of(configs[0], {}) != contract_of(configs[1], {}):
        view_versions(models, model, version)
        return
    view, newest = models / model.name, max(version, before)
    view_versions(models, model, newest)
    config = configs[0 if newest == version else 1]
    config.version_policy.specific.versions[:] = sorted({version, before})
    (view / CONFIG).unlink()
    (view / CONFIG).write_text(render(config), encoding="utf-8")


def view_live(models: Path, repository: Path) -> None:
    """Have a server that starts see each model up to its live version; `models` is what `link_models` made.

    Raises:
        ConchError: A history cannot be read.
        OSError: The links cannot be made.
    """
    for model in repository.resolve().iterdir():
        if model.is_dir() and (live := held_back(model)):
            in_a_folder(models)
            if (models / model.name).is_symlink():  # else it is left out
                view_versions(models, model, live)


def mark_all(models: Path, repository: Path) -> None:
    """Have a server that starts see each model as one that can be loaded anew, as `mark_changed` does.

    Each is what it is now: versions that are published later are not loaded with it. And nothing has to be written
    later, when the disk may be full.

    Raises:
        ConchError: A history cannot be read.
        OSError: The links cannot be made.
    """
    in_a_folder(models)
    for view in sorted(models.iterdir()):
        model = repository.resolve() / view.name
        if view.is_symlink() and (live := live_version(model)):
            view_versions(models, model, live)
        if not view.is_symlink():  # else it has no version: Triton says so
            (view / MARK).touch()


def mark_changed(models: Path, model: Path) -> None:
    """Have the next load of the model whose folder in the repository is `model` load each of its versions anew.

    Triton does that for changed files alone, and for all versions where one beside them is newer; nothing reads it. The
    versions stay those that the server sees, under their configuration: `publish` may have written another since.

    Raises:
        OSError: The links cannot be made.
    """
    view = models / model.name
    if live := max(versions(view), default=None):
        view_versions(models, model, live)
    (view / MARK).touch()


def held_back(model: Path) -> int | None:
    """The live version where newer ones are published, else None."""
    live = live_version(model)
    return live if live and live < max(versions(model)) else None


def view_candidate(models: Path, model: Path, version: int) -> str:
    """Have the server see one version under a name of its own, which is returned; of an ensemble its parts, too.

    Raises:
        ServingError: A model that is published has that name.
        OSError: The links cannot be made.
    """
    for name in (f"{model.name}{NOTICE}", f"{model.name}{CANDIDATE}"):
        if (model.parent / name).exists():
            raise ServingError(f"a model {name!r} is published, and a rollout of {model.name} needs that name: move it")
    view = models / name
    remove_view(view)
    view.mkdir(parents=True)
    config = parse(config_file(model, version).read_text(encoding="utf-8"))
    for step in config.ensemble_scheduling.step:
        if step.model_version > 0:  # else it is no part, but whatever is there
            step.model_name = view_candidate(models, model.parent / step.model_name, step.model_version)
    config.name = name
    config.ClearField("version_policy")
    (view / CONFIG).write_text(render(config), encoding="utf-8")
    _link(view, _beside_versions(model, version) | {str(version): model / str(version)}, keep=[CONFIG])
    return name


def on_trial(models: Path, repository: Path) -> list[str]:
    """What is there for a trial alone, of one that goes on or was killed: notices first, then candidates."""
    names = (entry.name for entry in models.iterdir() if not entry.is_symlink())
    trial = (name for name in names if name.endswith((CANDIDATE, NOTICE)) and not (repository / name).exists())
    return sorted(trial, key=lambda name: (not name.endswith(NOTICE), name))


def remove_view(view: Path) -> None:
    """Take a view away; what it links to stays."""
    shutil.rmtree(view, ignore_errors=True)


def _beside_versions(model: Path, version: int) -> dict[str, Path]:
    """What a configuration may name: labels, the inputs of a warm-up, what a sequence begins with; as of `version`."""
    known = {str(number) for number in versions(model)} | {CONFIG, FOLDER_OF_CONFIGS, HISTORY}
    found = {entry.name: entry for entry in model.iterdir() if entry.name not in known and entry.name[0] != "."}
    return found | {LABELS: labels_file(model, version)}


def _link(view: Path, targets: dict[str, Path], keep: Iterable[str] = ()) -> None:
    """Let `view` have links to these that are there, and no others; those that are right already are left alone."""
    wanted = {name: target.resolve() for name, target in targets.items() if target.exists()}
    for entry in view.iterdir():
        if entry.name not in keep and not (entry.is_symlink() and entry.readlink() == wanted.get(entry.name)):
            entry.unlink()
    for name, target in wanted.items():
        if not (view / name).is_symlink():
            (view / name).symlink_to(target)
