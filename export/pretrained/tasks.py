"""The table of tasks: which architectures do them, and what makes a served model of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conch.contracts.errors import ConchError
from export.pretrained.classifying_text import classify_text, rerank
from export.pretrained.folder import Folder
from export.pretrained.loading import load_config, load_model
from export.pretrained.subject import Subject
from export.pretrained.wanted import Wanted


@dataclass(frozen=True)
class Task:
    """What a model is served for."""

    name: str
    suffix: str
    """How the class's name ends in transformers."""
    auto: str
    """The class of transformers that finds the right one for a kind of model, where `config.json` names another."""
    prepare: Callable[[Folder, Any, Wanted], Subject]
    may_lack: tuple[str, ...] = ()
    """Beginnings of names of weights that it does not use."""


TASKS = (
    Task("text-classification", "ForSequenceClassification", "AutoModelForSequenceClassification", classify_text),
    Task("reranking", "ForSequenceClassification", "AutoModelForSequenceClassification", rerank),
)
NAMES = tuple(task.name for task in TASKS)


def find_task(folder: Folder, asked: str | None) -> Task:
    """The task that is asked for, or that the architecture is made for.

    Raises:
        ConchError: neither says one.
    """
    if asked:
        return next(task for task in TASKS if task.name == asked)
    if not folder.architecture:
        raise ConchError(
            f"{folder.path}/config.json names no architecture; say what it is for: --task {'|'.join(NAMES)}"
        )
    for task in TASKS:
        if folder.architecture.endswith(task.suffix):
            return task
    raise ConchError(
        f"{folder.path}: {folder.architecture} is for no task that is known here; --task takes {', '.join(NAMES)}, and "
        "conch export module any module"
    )


def architecture_of(folder: Folder, task: Task, config: Any) -> str:
    """The class that does the task: the folder's own, or that of its kind.

    Raises:
        ConchError: there is none.
    """
    from export.pretrained.offline import load_transformers

    if folder.architecture.endswith(task.suffix):
        return folder.architecture
    mapping = getattr(load_transformers(), task.auto)._model_mapping
    found = mapping.get(type(config), None) if type(config) in mapping.keys() else None  # noqa: SIM118  # it is lazy
    if found is None:
        raise ConchError(f"{folder.path}: transformers has no model of kind {config.model_type} for {task.name}")
    return (found[0] if isinstance(found, list | tuple) else found).__name__


def prepare_subject(folder: Folder, asked: str | None, wanted: Wanted) -> tuple[Task, str, Subject, tuple[str, ...]]:
    """The task, the class, what is served, and what has to be told.

    Raises:
        ConchError: the folder is not what the task needs.
    """
    task = find_task(folder, asked)
    architecture = architecture_of(folder, task, load_config(folder))
    model, told = load_model(folder, architecture, task.may_lack)
    subject = task.prepare(folder, model, wanted)
    return task, architecture, subject, (*told, *subject.told)
