"""Apply the safe changes of findings to a model's folder: the configuration is replaced whole, files go before it."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch.contracts.whole import write_whole
from serving.errors import ServingError
from serving.lint.findings import Finding
from serving.lint.model_folder import CONFIG_FILE
from serving.repository import warm_up
from serving.repository.configuration import parse, render
from serving.repository.locking import locked
from serving.repository.replacing import replace_config


def apply_fixes(folder: Path, findings: Sequence[Finding]) -> str:
    """Apply the changes that `findings` of one model have; the difference to config.pbtxt before, "" for none.

    The text is written anew: sections keep the comments that Conch gives them, a person's own comments are in the lines
    that the difference shows as removed.

    Raises:
        ServingError: The folder cannot be written. The configuration is then as it was.
    """
    changes = list({finding.rule: finding.change for finding in reversed(findings) if finding.change}.values())
    if not changes:
        return ""
    file = folder / CONFIG_FILE
    try:
        with locked(folder.parent):
            before = file.read_text(encoding="utf-8")
            config = parse(before)
            files: dict[str, bytes] = {}
            for change in changes:
                files |= change(config)
            after = _text(config, before)
            for name, data in files.items():
                write_whole(folder / warm_up.FOLDER / name, data)
            replace_config(folder, after)
    except OSError as error:
        raise ServingError(f"cannot write {folder}: {error.strerror or error}") from error
    return "".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(file), str(file), n=2))


def _text(config: ModelConfig, before: str) -> str:
    """`config` as text, under the comment lines that the text of before began with and Conch does not write itself."""
    rendered = render(config)
    head = []
    for line in before.splitlines(True):
        if not line.startswith("#") and line.strip():
            break
        if line not in rendered.splitlines(True):
            head.append(line)
    return "".join(head) + rendered
