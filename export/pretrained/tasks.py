"""The table of tasks: which architectures do them, and what makes a served model of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conch.contracts.errors import ConchError
from export.pretrained.classifying_text import classify_text, rerank
from export.pretrained.embedding_text import embed_text
from export.pretrained.folder import Folder
from export.pretrained.generating_text import generate_text
from export.pretrained.hearing import classify_sounds, speech_features
from export.pretrained.loading import load_config, load_model
from export.pretrained.pictures import SETTINGS
from export.pretrained.reading_tokens import answer_questions, fill_mask, tag
from export.pretrained.rewriting_text import SUFFIXES, rewrite_text
from export.pretrained.seeing import classify_pictures, estimate_depth, picture_features, segment
from export.pretrained.sounds import hears
from export.pretrained.subject import Subject
from export.pretrained.two_towers import both_towers
from export.pretrained.wanted import Wanted


@dataclass(frozen=True)
class Task:
    """What a model is served for."""

    name: str
    suffix: str | tuple[str, ...]
    """How the class's name ends in transformers, or may end."""
    auto: str
    """The class of transformers that finds the right one for a kind of model, where `config.json` names another."""
    prepare: Callable[[Folder, Any, Wanted], Subject | tuple[Subject, ...]]
    """Several where one folder becomes several models."""
    may_lack: tuple[str, ...] = ()
    """Beginnings of names of weights that it does not use."""


POOLER = ("pooler.",)
"""What many bases were saved without, and what no embedding of token vectors needs."""

TASKS = (
    Task("text-classification", "ForSequenceClassification", "AutoModelForSequenceClassification", classify_text),
    Task("reranking", "ForSequenceClassification", "AutoModelForSequenceClassification", rerank),
    Task("token-classification", "ForTokenClassification", "AutoModelForTokenClassification", tag),
    Task("question-answering", "ForQuestionAnswering", "AutoModelForQuestionAnswering", answer_questions),
    Task("fill-mask", "ForMaskedLM", "AutoModelForMaskedLM", fill_mask),
    Task("text-generation", ("ForCausalLM", "LMHeadModel"), "AutoModelForCausalLM", generate_text),
    Task("text2text-generation", SUFFIXES, "AutoModelForSeq2SeqLM", rewrite_text),
    Task("image-classification", "ForImageClassification", "AutoModelForImageClassification", classify_pictures),
    Task("segmentation", "ForSemanticSegmentation", "AutoModelForSemanticSegmentation", segment),
    Task("depth", "ForDepthEstimation", "AutoModelForDepthEstimation", estimate_depth),
    Task("zero-shot-image", "CLIPModel", "AutoModelForZeroShotImageClassification", both_towers),
    Task(
        "audio-classification",
        ("ForAudioClassification", "ForSequenceClassification"),
        "AutoModelForAudioClassification",
        classify_sounds,
    ),
    # What is left are bases, of sounds, of pictures or of text.
    Task("speech-features", "Model", "AutoModel", speech_features),
    Task("image-features", "Model", "AutoModel", picture_features, POOLER),
    Task("embeddings", "Model", "AutoModel", embed_text, POOLER),
)
OF_SOUNDS = ("audio-classification", "speech-features")
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
    listens = hears(folder)
    sees = not listens and any((folder.path / file).exists() for file in SETTINGS) and not folder.has_tokenizer
    for task in TASKS:
        if (task.name in OF_SOUNDS) != listens or (task.name == "image-features" and not sees):
            continue
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


def prepare_subjects(
    folder: Folder, asked: str | None, wanted: Wanted
) -> tuple[Task, str, tuple[Subject, ...], tuple[str, ...]]:
    """The task, the class, what is served, and what has to be told of the weights.

    Raises:
        ConchError: the folder is not what the task needs.
    """
    task = find_task(folder, asked)
    architecture = architecture_of(folder, task, load_config(folder))
    model, told = load_model(folder, architecture, task.may_lack)
    prepared = task.prepare(folder, model, wanted)
    return task, architecture, prepared if isinstance(prepared, tuple) else (prepared,), told
