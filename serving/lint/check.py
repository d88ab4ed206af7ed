"""Run the rules over a model, or over a model repository."""

import os
from collections.abc import Sequence
from pathlib import Path

from serving.errors import ServingError
from serving.lint import (  # noqa: F401 (each fills RULES)
    batching_rules,
    folder_rules,
    gpu_rules,
    graph_rules,
    label_rules,
    operator_rules,
    processor_rules,
    sequence_rules,
    session_rules,
    warm_up_rules,
)
from serving.lint.findings import RULES, Finding
from serving.lint.model_folder import ModelFolder, Target
from serving.onnx_files.releases import NEWEST, Release, find_release
from serving.repository.folder import check_repository


def lint_model(
    folder: Path, release: Release | None = None, cores: int | None = None, target: Target | None = None
) -> list[Finding]:
    """What all rules find in a model's folder, errors first.

    Args:
        folder: The model's folder, named as the model.
        release: The Triton release that is to serve it; the newest known without.
        cores: The processor cores that are to serve it; those of this machine without.
        target: The kind of processor that is to serve it; without, what depends on it is not looked at.
    """
    model = ModelFolder(folder, release or find_release(NEWEST), cores or len(os.sched_getaffinity(0)), target)
    found = [finding for rule in RULES.values() for finding in rule.findings(model)]
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def models_of(repository: Path, names: Sequence[str]) -> list[Path]:
    """The folders of the models called `names`, or of all in the repository.

    Raises:
        ServingError: There is no repository, it is empty, or has no model of a name; the message lists those it has.
    """
    there = check_repository(repository)
    if unknown := [name for name in names if name not in there]:
        raise ServingError(f"no model {unknown[0]!r} in {repository}; there are {', '.join(there)}")
    return [repository / name for name in names or there]
