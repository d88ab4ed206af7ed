"""The headline section of docs/training.md, written from the results at hand and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.sections import write_section
from tests.bench.training.headline.judgement import Table, metric_named
from tests.bench.training.headline.results import Result
from tests.bench.training.headline.runs import Run
from training.recipe import Metric

NOT_RUN = "-"
BUSY = 0.05
"""Share of the cores' time that others may take before a time is called disturbed."""
INTRODUCTION = """
`make headline` trains each run by the command shown, takes the time of the whole command, judges the checkpoint and
writes this section; `make headline RUN=lstm` does one of them. What a run reached stands in `docs/training/<run>.json`.
The runner adds `--no-floors`, for it judges itself, and keeps checkpoints in `artifacts/headline`, apart from the
demo's. Data are looked for in `CONCH_DATA` and downloaded where they are missing.
""".strip().replace("\n", " ")


@dataclass(frozen=True)
class FloorCheck:
    """A floor or the time limit, what was reached, and whether that is enough."""

    what: str
    required: str
    reached: str
    met: bool

    def __str__(self) -> str:
        return "met" if self.met else "not run" if self.reached == NOT_RUN else "**missed**"


def floor_checks(run: Run, result: Result | None) -> list[FloorCheck]:
    """Every floor of the run and its time limit; what was not measured is not met."""
    found = [_floor(name, bound, result) for name, bound in run.floors.items()]
    training = result.training if result else None
    seconds = training.seconds if training else None
    met = seconds is not None and seconds <= run.minutes * 60
    required = f"at most {run.minutes:g} min"
    missing = "not measured" if result else NOT_RUN
    return [*found, FloorCheck("time", required, missing if seconds is None else duration(seconds), met)]


def all_met(run: Run, result: Result | None) -> bool:
    """Whether the run holds every floor and its time limit."""
    return all(verdict.met for verdict in floor_checks(run, result))


def duration(seconds: float) -> str:
    """`83.2` as `1 min 23 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def write_page(path: Path, runs: Sequence[Run], results: Mapping[str, Result | None]) -> None:
    """Replace what stands between the markers; all else of the page stays.

    Raises:
        ConchError: there is no such page, or its markers are missing, double or in the wrong order.
    """
    write_section(path, "headline", section(runs, results), title=None)


def section(runs: Sequence[Run], results: Mapping[str, Result | None]) -> str:
    """The section as Markdown."""
    met = sum(all_met(run, results.get(run.name)) for run in runs)
    lines = [
        "## Headline runs", "", INTRODUCTION, "",
        f"### {met} of {len(runs)} runs meet all their floors", "",
        "| run | | required | reached | |", "|---|---|---|---:|---|",
    ]  # fmt: skip
    for run in runs:
        for index, verdict in enumerate(floor_checks(run, results.get(run.name))):
            title = f"[{run.title}](#{run.name}-run)" if index == 0 else ""
            lines.append(f"| {title} | {verdict.what} | {verdict.required} | {verdict.reached} | {verdict} |")
    lines += ["", *_warnings(runs, results)]
    for run in runs:
        lines += _of_run(run, results.get(run.name))
    return "\n".join(lines).strip()


def _floor(name: str, bound: float, result: Result | None) -> FloorCheck:
    if result is None:
        return FloorCheck(name, f"{bound:g}", NOT_RUN, False)
    metric = metric_named(name, result.judgement.metrics)
    unit = f" {metric.unit}".rstrip()
    required = f"{'at least' if metric.higher_is_better else 'at most'} {bound:g}{unit}"
    return FloorCheck(name, required, _shown(metric), metric.reaches(bound))


def _shown(metric: Metric) -> str:
    digits = 2 if metric.unit or abs(metric.value) >= 10 else 4
    return f"{metric.value:.{digits}f} {metric.unit}".rstrip()


def _warnings(runs: Sequence[Run], results: Mapping[str, Result | None]) -> list[str]:
    """What a reader must know before believing the table."""
    found = []
    for run in runs:
        if (result := results.get(run.name)) is None:
            continue
        if result.training is None:
            found.append(f"{run.name}: judged from a checkpoint that this runner did not train, so it has no time.")
        elif result.training.command != run.command:
            found.append(f"{run.name}: made by `{result.training.command}`; the table now says `{run.command}`.")
        elif result.training.others > BUSY:
            found.append(f"{run.name}: other processes took {result.training.others:.0%} of the machine meanwhile, "
                         "so that it took longer than it would alone.")  # fmt: skip
    return [*(f"* {warning}" for warning in found), ""] if found else []


def _of_run(run: Run, result: Result | None) -> list[str]:
    lines = [f'<a id="{run.name}-run"></a>', "", f"### {run.title}", "", "```sh", run.command, "```", ""]
    if result is None:
        return [*lines, "Not run yet.", ""]
    lines += [_made_by(result), "", result.judgement.how, ""]
    others = [metric for metric in result.judgement.metrics if metric.name not in run.floors]
    if others:
        lines += ["Also: " + "; ".join(f"{metric.name} {_shown(metric)}" for metric in others) + ".", ""]
    for table in result.judgement.tables:
        lines += [*_markdown(table), ""]
    if result.judgement.text:
        lines += ["What it writes, drawn from its probabilities as they are, by a fixed seed:", "", "```text",
                  result.judgement.text.replace("```", "'''").strip("\n"), "```", ""]  # fmt: skip
    for picture, caption in result.judgement.pictures.items():
        lines += [f"![{caption}](training/{picture})", "", f"*{caption}.*", ""]
    return lines


def _made_by(result: Result) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items() if value not in ("", None))
    told = f"{result.parameters:,} parameters; {settings}. "
    if training := result.training:
        changed = " with changes" if (training.commit or "").endswith("+") else ""
        told += (
            f"Trained {training.date} in {duration(training.seconds)} ({result.examples_per_second:,.0f} examples/s) "
            f"on {training.machine}; commit {(training.commit or 'unknown')[:10]}{changed}; other processes took "
            f"{training.others:.0%} of the cores' time. "
        )
    versions = ", ".join(f"{name} {version}" for name, version in result.packages.items() if name != "python")
    return f"{told}Judged {result.judged}; {versions}; weights `{result.weights[:12]}`."


def _markdown(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    columns = list(zip(*table.rows, strict=True))
    alignment = "|".join("---:" if any(map(_is_number, column)) else "---" for column in columns)
    return [f"**{table.title}**", "", line(table.header), f"|{alignment}|", *(line(row) for row in table.rows)]


def _is_number(cell: str) -> bool:
    return cell.strip("*").replace(",", "").replace(".", "").isdecimal()
