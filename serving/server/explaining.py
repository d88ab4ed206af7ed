"""Why a model is not served, in the words of `conch lint` where it knows: rule, file and line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from serving.kserve.endpoint import ModelState
from serving.lint.check import lint_model
from serving.lint.findings import RULES, Finding
from serving.lint.model_folder import CONFIG_FILE


def explained(states: Sequence[ModelState], repository: Path) -> list[ModelState]:
    """`states` of models that did not load, with what lint finds in the repository instead of the server's reason.

    Only these are looked at: lint opens each graph once more, which a start with many large models would feel.
    """
    return [replace(state, reason=_reason(state, repository / state.name) or state.reason) for state in states]


def _reason(state: ModelState, folder: Path) -> str:
    """What keeps the model from being loaded; "" where lint knows nothing, or only what Conch's backend loads."""
    try:
        found = lint_model(folder) if folder.is_dir() else []
    except Exception:  # a file so odd that lint itself stumbles: the server's own reason stands
        return ""
    return "; ".join(
        f"{_place(finding, folder)}: {finding.what}"
        for finding in found
        if finding.severity == "error" and not RULES[finding.rule].loads and _concerns(finding, state.version)
    )


def _place(finding: Finding, folder: Path) -> str:
    """The file, or the line of the configuration and the field in it."""
    field, line = finding.field, f":{finding.line}" if finding.line else ""
    if field == CONFIG_FILE or "/" in field or (folder / field).exists():
        return f"{folder / field}{line}"
    return f"{folder / CONFIG_FILE}{line}: {field}"


def _concerns(finding: Finding, version: str) -> bool:
    """Whether it is about this version: a finding in a file of another one is not."""
    begin, inside, _ = finding.field.partition("/")
    return not inside or not begin.isdecimal() or version in (begin, "-")
