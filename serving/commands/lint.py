"""`conch lint`: the findings as a table or as JSON, and `--fix`."""

from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from conch.command_line import ERR, OUT, print_json
from conch.contracts.artifacts import models_folder
from serving.commands.run import run
from serving.lint.check import lint_model, models_of
from serving.lint.findings import Finding
from serving.lint.fixing import apply_fixes, planned_fixes
from serving.lint.model_folder import Target
from serving.onnx_files.releases import NEWEST, find_release

COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


def lint(
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    repository: Path | None = None,
    triton: str = NEWEST,
    target: Target | None = None,
    fix: bool = False,
    diff: bool = False,
    json: bool = False,
) -> int:
    """Check the model repository offline: configuration against ONNX files, versions, files. Exit code 1 on an error.

    For example: conch lint

    conch lint cnn --triton 24.10

    conch lint --repository models --fix

    conch lint --diff | git apply

    Args:
        models: Their names. Default: all of the repository.
        repository: The model repository. Default: artifacts/models.
        triton: The Triton release that is to serve it, such as 24.10.
        target: The kind of processor that is to serve it, as `conch export --target` has it; x86: any.
        fix: Apply the changes that are safe, and show them: those that make a model load, or change no answer.
        diff: Change nothing, and print what --fix would change in config.pbtxt as a patch, for git apply or patch -p1
            in the working folder. All else goes to standard error.
        json: Print the findings as JSON.
    """
    release = find_release(triton)
    findings: list[Finding] = []
    differences = ""
    for folder in models_of(repository or models_folder(), models):
        found = lint_model(folder, release, target=target)
        if diff:
            differences += _planned(folder, found)
        elif fix and (difference := apply_fixes(folder, found)):
            differences += difference
            found = lint_model(folder, release, target=target)
        findings += found
    if json:
        _print_json(findings, differences)
    else:
        screen = ERR if diff else OUT
        if OUT.is_terminal and differences:
            OUT.print(Syntax(differences, "diff", background_color="default", word_wrap=True))
        else:
            OUT.file.write(differences)  # to the letter: it is a patch
        screen.print(_table(findings) if findings else "[green]nothing found[/]")
        screen.print(_summary(findings), highlight=False)
    return 1 if any(finding.severity == "error" for finding in findings) else 0


def _planned(folder: Path, found: Sequence[Finding]) -> str:
    """The patch for one model; what is no part of it is told."""
    difference, left_out = planned_fixes(folder, found)
    for rule in left_out:
        ERR.print(escape(f"{folder.name}: {rule} is not in the patch, for it writes files of warm-up: --fix does it"))
    return difference


def _print_json(findings: Sequence[Finding], differences: str) -> None:
    """One object: `findings`, each with what the table has, and `changed`, the patch of what `--fix` made."""
    keys = ("rule", "severity", "model", "field", "line", "found", "wanted", "fix")
    shown = [{key: getattr(finding, key) for key in keys} | {"fixable": bool(finding.change)} for finding in findings]
    print_json({"findings": shown, "changed": differences})


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("model", "rule", "field", "found", "wanted", "fix", show_lines=True)
    for finding in findings:
        colour = COLOURS[finding.severity]
        line = f"\nline {finding.line}" if finding.line else ""
        texts = (finding.field + line, finding.found, finding.wanted, finding.fix)
        rule = f"[{colour}]{finding.severity}[/]\n{finding.rule}"
        table.add_row(escape(finding.model), rule, *(escape(text) for text in texts))
    return table


def _summary(findings: Sequence[Finding]) -> str:
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in COLOURS}
    shown = [f"{count} {severity}{'s' if count > 1 else ''}" for severity, count in counts.items() if count]
    fixable = sum(bool(finding.change) for finding in findings)
    return (", ".join(shown) + (f"; --fix mends {fixable}" if fixable else "")) if shown else ""


def main(words: Sequence[str]) -> int:
    """Run `conch lint` with these words; the exit code."""
    return run(lambda: tyro.cli(lint, prog="conch lint", args=words))
