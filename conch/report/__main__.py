"""Put all proofs on one page, and end with the table.

examples:
  conch report
  conch report score all              the recipes' own scores through the running server
  conch report --json                 the same for programs, as artifacts/report/report.json has it
  conch report samples FOLDER         pictures to call the models with

Exit code 1 where a proof does not hold: a broken promise, a changed file, a score that differs.
"""

import io
import sys
from collections.abc import Sequence

import tyro
from rich.markup import escape

from conch import command_line
from conch.command_line import ERR, out, print_json
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.whole import write_whole
from conch.report.document import report_document
from conch.report.evidence import gather
from conch.report.page import render_pages
from conch.report.summary import print_summary


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
    folder = artifacts / "report"
    page, document = folder / "index.html", report_document(models)
    try:
        for path, text in render_pages(models, artifacts).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / path, text.encode())
        written = io.StringIO()
        print_json(document, written)
        write_whole(folder / "report.json", written.getvalue().encode())
    except OSError as error:
        ERR.print(f"[red]error:[/] cannot write into {folder}: {error.strerror}")
        return 1
    print_summary(screen, models)
    failures = [sentence for model in models for sentence in model.failures]
    for sentence in failures:
        ERR.print(f"[red]broken:[/] {escape(sentence)}")
    for sentence in (sentence for model in models for sentence in model.missing):
        screen.print(f"[yellow]not run:[/] {escape(sentence)}", highlight=False)
    screen.print(f"report: {page}", highlight=False, soft_wrap=True)
    if json:
        print_json({"page": str(page)} | document)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
