"""The page, written from the results at hand and the recipes' own docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conch.contracts.whole import write_whole
from conch.report.differences import difference_text
from tests.bench.networks.results import Network, introduction
from training.catalogue import family, find_recipe

BUSY = 1.5
"""The load average above which something else ran on the machine."""
HEAD = """# The other networks

```sh
make networks                  # all of them: trained, exported with their proof, served, scored, load-tested, reported
make networks MODEL=unet       # one
conch train list --recipes     # what there is, what each serves, and its floor
```

`make demo` stays with its five. Each of these is a file in a folder of `training/recipes`, and has to reach its floor
on the data that come with the packages, or it is not published. This page is written by `make networks`, from what it
keeps in `docs/networks/`. A time is that of the training, on two cores; where others used them, that is said.
"""

INT8 = """## In int8

`conch export NAME --precision int8` publishes a variant where the recipe's score allows it and it is no slower than
fp32 on the machine at hand; `python -m tests.bench.networks --int8` asked it of each model that a score judges. Bytes
and speed are shares of fp32's, with the largest batch and one thread; of what was refused they are those of the variant
that came nearest.
"""


def write_page(path: Path, networks: Sequence[Network]) -> None:
    """Put the page in its place, whole."""
    write_whole(path, page(networks).encode())


def page(networks: Sequence[Network]) -> str:
    """The page as Markdown: a table, then a section for each by family."""
    ordered = sorted(networks, key=lambda one: (family(one.name), one.name))
    lines = [HEAD, "| network | family | served as | judged by | floor | weights | ONNX | live | size |",
             "|---|---|---|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for one in ordered:
        lead, judged = one.score[0], next((model for model in one.models if model.score), one.models[0])
        steps = [_value(judged.score.get(step)) for step in ("weights", "onnx", "live")]
        floor = "" if lead["floor"] is None else f"{lead['floor']:g}"
        size = f"{sum(model.bytes for model in one.models) / 1e3:,.0f} kB"
        lines.append(
            f"| [{one.name}](#{one.name}) | {family(one.name)} | {'; '.join(find_recipe(one.name).serves)} | "
            f"{_unit(lead)} | {floor} | {' | '.join(steps)} | {size} |"
        )
    if any(one.int8 for one in ordered):
        lines += ["", *_int8(ordered)]
    for one in ordered:
        lines += ["", *_section(one)]
    return "\n".join(lines) + "\n"


def _int8(networks: Sequence[Network]) -> list[str]:
    lines = [INT8, "| network | int8 | layers in fp32 | bytes | speed | judged by | fp32 | int8 | why not |",
             "|---|---|---:|---:|---:|---|---:|---:|---|"]  # fmt: skip
    for one in networks:
        if (found := one.int8) is None:
            continue
        judged = next((model for model in one.models if model.score), None)
        fp32 = _value(judged.score.get("onnx")) if judged and found.score is not None else ""
        lines.append(
            f"| {one.name} | {found.method if found.published else 'no'} | "
            f"{f'{found.kept} of {found.layers}' if found.layers else ''} | {_figure(found.size_ratio)} | "
            f"{_figure(found.speedup)} | {_unit(one.score[0]) if found.score is not None else ''} | {fp32} | "
            f"{'' if found.score is None else f'{found.score:.4g}'} | {found.reason} |"
        )
    return lines


def _figure(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _section(one: Network) -> list[str]:
    what, commands, source = introduction(one.name)
    busy = f", while other work ran on the machine (load {one.load:g})" if one.load > BUSY else ""
    lines = [
        f"## {one.name}", "", what, "", "```sh", *commands, "```", "", source, "",
        f"{one.parameters:,} parameters, trained on {one.data} by {find_recipe(one.name).learns_by} in "
        f"{one.training_seconds:,.0f} s{busy}; "
        f"{one.created[:10]}.", "",
        "| model | nodes | size | largest difference to PyTorch |", "|---|---:|---:|---:|",
    ]  # fmt: skip
    for model in one.models:
        difference = difference_text(model.difference, model.data_type)
        lines.append(f"| {model.name} | {model.nodes} | {model.bytes / 1e3:,.0f} kB | {difference} |")
    lines += ["", "| metric | floor | reached |" + "".join(f" seed {seed} |" for seed in one.seeds),
              "|---|---:|---:|" + "---:|" * len(one.seeds)]  # fmt: skip
    for metric in one.score:
        spread = "".join(f" {_named(metrics, metric['name'])} |" for metrics in one.seeds.values())
        floor = "" if metric["floor"] is None else f"{metric['floor']:g}"
        lines.append(f"| {_unit(metric)} | {floor} | {metric['value']:.4g} |{spread}")
    return [*lines, "", f"![What {one.name} does](networks/{one.name}.png)"]


def _unit(metric: dict[str, Any]) -> str:
    direction = "" if metric["higher_is_better"] else " (less is better)"
    return f"{metric['name']}{', ' + metric['unit'] if metric['unit'] else ''}{direction}"


def _named(metrics: list[dict[str, Any]], name: str) -> str:
    return next((f"{metric['value']:.4g}" for metric in metrics if metric["name"] == name), "")


def _value(metrics: list[dict[str, Any]] | None) -> str:
    return f"{metrics[0]['value']:.4g}" if metrics else "not run"
