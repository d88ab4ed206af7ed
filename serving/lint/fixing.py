"""Apply the safe changes of findings to a model's folder: the configuration is replaced whole, files go before it."""

from collections.abc import Sequence
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch.contracts.whole import write_whole
from serving.errors import ServingError
from serving.lint.findings import Change, Finding
from serving.lint.model_folder import CONFIG_FILE
from serving.lint.patch import patch
from serving.repository import warm_up
from serving.repository.configuration import parse, render
from serving.repository.locking import locked
from serving.repository.replacing import replace_config


def apply_fixes(folder: Path, findings: Sequence[Finding]) -> str:
    """Apply the changes that `findings` of one model have; a patch of config.pbtxt that does the same, "" for none.

    The text is written anew: sections keep the comments that Conch gives them, a person's own comments are in the lines
    that the difference shows as removed.

    Raises:
        ServingError: The folder cannot be written. The configuration is then as it was.
    """
    changes = _changes(findings)
    if not changes:
        return ""
    file = folder / CONFIG_FILE
    try:
        with locked(folder.parent):
            before = _read(file)
            config = parse(before)
            files: dict[str, bytes] = {}
            for change in changes.values():
                files |= change(config)
            after = _text(config, before)
            for name, data in files.items():
                write_whole(folder / warm_up.FOLDER / name, data)
            replace_config(folder, after)
    except OSError as error:
        raise ServingError(f"cannot write {folder}: {error.strerror or error}") from error
    return patch(file, before, after)


def planned_fixes(folder: Path, findings: Sequence[Finding]) -> tuple[str, list[str]]:
    """The patch of what `apply_fixes` would change in config.pbtxt, and the rules whose change also writes files, which
    are no text and so not part of it. Nothing is changed.

    Raises:
        ServingError: The configuration cannot be read.
    """
    changes = _changes(findings)
    if not changes:
        return "", []
    file = folder / CONFIG_FILE
    try:
        before = _read(file)
    except OSError as error:
        raise ServingError(f"cannot read {file}: {error.strerror or error}") from error
    config, left_out = parse(before), []
    for rule, change in changes.items():
        changed = ModelConfig()
        changed.CopyFrom(config)
        if change(changed):
            left_out.append(rule)
        else:
            config = changed
    return patch(file, before, _text(config, before)) if len(left_out) < len(changes) else "", left_out


def _changes(findings: Sequence[Finding]) -> dict[str, Change]:
    """One of each rule that has any: it mends all that the rule finds."""
    return {finding.rule: finding.change for finding in reversed(findings) if finding.change}


def _read(file: Path) -> str:
    """With the ends of lines that it has."""
    return file.read_bytes().decode()


def _text(config: ModelConfig, before: str) -> str:
    """`config` as text, under the comment lines that the text of before began with and Conch does not write itself."""
    rendered = render(config)
    head = []
    for line in before.splitlines(True):
        line = line.rstrip("\r\n") + "\n"
        if not line.startswith("#") and line.strip():
            break
        if line not in rendered.splitlines(True):
            head.append(line)
    return "".join(head) + rendered
