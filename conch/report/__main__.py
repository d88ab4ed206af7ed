"""Put all proofs on one page, and end with the table.

examples:
  conch report
  conch report score all              the recipes' own scores through the running server
  conch report samples FOLDER         pictures to call the models with

Exit code 1 where a proof does not hold: a broken promise, a changed file, a score that differs.
"""

import sys
from collections.abc import Sequence

import tyro
from rich.markup import escape

from conch import command_line
from conch.command_line import ERR, out, print_json
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.whole import write_whole
from conch.report.evidence import gather
from conch.report.page import render_page
from conch.report.summary import print_summary, summary_document


def main(words: Sequence[str] | None = None) -> int:
    """Run `conch report` with these words; the exit code."""
    words = sys.argv[1:] if words is None else list(words)
    if words[:1] == ["score"]:
        from conch.report.score import main as score

        return score(words[1:])
    if words[:1] == ["samples"]:
        from conch.report.samples import main as samples

        return samples(words[1:])
    return command_line.run(lambda: tyro.cli(report, prog="conch report", description=__doc__, args=words))


def report(json: bool = False) -> int:
    """Write the page; 1 where a proof does not hold.

    Args:
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    screen = out(json)
    artifacts = artifacts_folder()
    models = gather(artifacts)
    if not models:
        ERR.print(f"[red]error:[/] no published model in {artifacts / 'models'}; make one with: make train export")
        return 1
    page = artifacts / "report" / "index.html"
    try:
        write_whole(page, render_page(models, artifacts).encode())
    except OSError as error:
        ERR.print(f"[red]error:[/] cannot write {page}: {error.strerror}")
        return 1
    print_summary(screen, models)
    failures = [sentence for model in models for sentence in model.failures]
    for sentence in failures:
        ERR.print(f"[red]broken:[/] {escape(sentence)}")
    for sentence in (sentence for model in models for sentence in model.missing):
        screen.print(f"[yellow]not run:[/] {escape(sentence)}", highlight=False)
    screen.print(f"report: {page}", highlight=False, soft_wrap=True)
    if json:
        print_json({"page": str(page), "models": [summary_document(model) for model in models]})
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
