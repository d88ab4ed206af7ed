"""A folder to a transformers model in float32, or the reason why its weights are not that model's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from conch.contracts.errors import ConchError
from export.pretrained.folder import Folder
from export.pretrained.offline import load_transformers

SHOWN = 3


def load_config(folder: Folder) -> Any:
    """The configuration as transformers reads it.

    Raises:
        ConchError: it needs code of the folder, or transformers does not know the kind of model.
    """
    transformers = load_transformers()
    kind = folder.config.get("model_type")
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if kind not in known:
        code = " with code of its own (auto_map), which is never run" if "auto_map" in folder.config else ""
        raise ConchError(
            f"{folder.path}: transformers {transformers.__version__} knows no model_type {kind!r}{code}; write the "
            "module yourself and use conch export module"
        )
    try:
        return transformers.AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a configuration of somebody else's makes it raise
        raise ConchError(f"{folder.path}/config.json: {_one_line(error)}") from error


def load_model(folder: Folder, architecture: str, may_lack: Collection[str] = ()) -> tuple[Any, tuple[str, ...]]:
    """The model in float32 and eval mode, and what has to be told of its weights.

    Args:
        folder: with the weights.
        architecture: a class of transformers'.
        may_lack: beginnings of names of weights that the task does not use.

    Raises:
        ConchError: weights are missing, of another shape, or cannot be read.
    """
    transformers = load_transformers()
    if not hasattr(transformers, architecture):
        raise ConchError(
            f"{folder.path}: transformers {transformers.__version__} has no {architecture}, and code of a folder is "
            "never run; write the module yourself and use conch export module"
        )
    try:
        model, found = getattr(transformers, architecture).from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False, use_safetensors=not folder.pickled,
            dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except Exception as error:  # whatever a file of somebody else's makes it raise
        raise ConchError(f"{folder.path}: {architecture} cannot be loaded: {_one_line(error)}") from error
    if odd := sorted(str(found_odd[0]) for found_odd in found["mismatched_keys"]):
        raise ConchError(f"{folder.path}: weights of another shape than {architecture} has: {_named(odd)}")
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(tuple(may_lack)))
    if missing:
        raise ConchError(
            f"{folder.path} has no weights for {_named(missing)} of {architecture}, which would be random: it was not "
            "trained for this. Give --task what it was trained for; --task embeddings or image-features needs no head"
        )
    told = []
    if left_out := sorted(found["unexpected_keys"]):
        told.append(f"weights that {architecture} has no use for were left out: {_named(left_out)}")
    return model.eval(), tuple(told)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
