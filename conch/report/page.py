"""Lay the evidence out as one self-contained HTML page."""

from __future__ import annotations

import base64
import os
import platform
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from clients.preparation import UnknownPreparation, described
from conch.report.differences import difference_text
from conch.report.evidence import Evidence
from conch.report.explanations import FIGURES, PICTURES
from conch.report.families import by_family, family_of
from conch.report.plots import latency_plot, parity_rows
from conch.report.searches import search_rows
from conch.report.summary import name_text, summary_rows, value_text
from conch.report.variants import variant_rows
from serving.errors import ServingError
from serving.repository.configuration import parse

CALLS = {
    "digit.png": "sent to cnn and resnet",
    "noisy.png": "sent to the autoencoder",
    "clean.png": "what it answered",
    "grid.png": "64 answers of the gan",
}


PAGED = 12
"""With more models than these each has a page of its own: pictures and grids of a hundred are no page to read."""


def render_pages(models: list[Evidence], artifacts: Path) -> dict[str, str]:
    """The pages by their paths in the report's folder, as HTML text; every picture is inside them."""
    paged = len(models) > PAGED
    own = {
        f"models/{model.name}.html": _render("model_page.html.j2", [model], artifacts, model=model)
        for model in (models if paged else [])
    }
    return {"index.html": _render("page.html.j2", models, artifacts, paged=paged), **own}


def render_page(models: list[Evidence], artifacts: Path) -> str:
    """All models on one page."""
    return _render("page.html.j2", models, artifacts, paged=False)


@cache  # compiling the templates takes longer than filling in a page
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _render(template: str, models: list[Evidence], artifacts: Path, **more: Any) -> str:
    models = by_family(models)
    runs = {model.name: model.load for model in models if model.load and model.load["histogram"]}
    return (
        _templates()
        .get_template(template)
        .render(
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            machine=machine(),
            models=models,
            family_of=family_of,
            place=(lambda name: f"models/{name}.html") if more.get("paged") else (lambda name: f"#{name}"),
            head=_head,
            figures=FIGURES,
            difference_text=difference_text,
            failures=[sentence for model in models for sentence in model.failures],
            missing=[sentence for model in models for sentence in model.missing],
            summary=summary_rows(models),
            variants=variant_rows(models),
            scores={model.name: _score_rows(model) for model in models},
            heat={model.name: parity_rows(model.parity, model.output_types) for model in models},
            sizes={model.name: sizes_text((model.trained or {}).get("data", {})) for model in models},
            proofs={model.name: _proven_by(model) for model in models},
            preparations={model.name: _preparation(model) for model in models},
            pictures={model.name: _pictures(model) for model in models},
            calls=_existing({artifacts / "calls" / file: (caption, "") for file, caption in CALLS.items()}),
            plot=Markup(latency_plot(runs)) if runs else None,
            versions=tool_versions(models),
            searches=search_rows(models, artifacts),
            **more,
        )
    )


def _head(name: str, kind: str = "") -> Markup:
    """A column's head, with what its figures say."""
    return Markup('<th class="{}" title="{}">{}</th>').format(kind, FIGURES[name], name)


def machine() -> str:
    """This machine, in a few words."""
    cores = len(os.sched_getaffinity(0))
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}, {cores} cores, {platform.system()} {platform.release()}"


def _score_rows(model: Evidence) -> list[dict[str, str]]:
    live = {metric["name"]: metric for metric in (model.live or {}).get("score", [])}
    trained = {metric["name"]: metric for metric in (model.trained or {}).get("score", [])}
    rows = []
    score = model.published.get("score", {"weights": [], "onnx": []})
    for weights, exported in zip(score["weights"], score["onnx"], strict=True):
        name = weights["name"]
        floor = trained.get(name, {}).get("floor")
        rows.append(
            {
                "name": name_text(weights),
                "floor": "-" if floor is None else f"{floor:g}",
                "weights": value_text(weights),
                "onnx": value_text(exported),
                "live": value_text(live.get(name)),
            }
        )
    return rows


def sizes_text(data: dict[str, Any]) -> str:
    """How much data there was, by what a recipe's data say of themselves; "" where they say nothing."""
    said = {key: f"{value:,}" if isinstance(value, int | float) else str(value) for key, value in data.items()}
    split = [f"{said[key]} {what}" for key, what in (("train", "examples"), ("held_out", "held out")) if key in said]
    others = [f"{value} {key.replace('_', ' ')}" for key, value in said.items() if key not in ("name", "sha256")]
    return ", ".join(split or others)


def _proven_by(model: Evidence) -> str:
    """What a model without a recipe was proven against and on, in words; "" of one with a recipe."""
    source = model.published.get("source")
    if source is None:
        return ""
    reference = source.get("reference")
    if reference is None:
        said = f"Inputs of the proof: {source['inputs']}"
    else:
        weights = f" with weights {reference['weights']}" if "weights" in reference else ""
        kind, file = reference["kind"], reference["file"]
        said = f"Proven against: {kind} {file}{weights}. Inputs of the proof: {reference['inputs']}"
    left_out = "; ".join(model.parity.get("uncovered", ()))
    return f"{said}. Not covered: {left_out}" if left_out else said


def _preparation(model: Evidence) -> str:
    """How the configuration says that a picture becomes the model's input, in words; "" where it says nothing."""
    try:
        config = parse((model.version.parent / "config.pbtxt").read_text(encoding="utf-8"))
        said = described({key: entry.string_value for key, entry in config.parameters.items()})
    except (OSError, UnicodeDecodeError, ServingError, UnknownPreparation) as error:
        return f"not known, {error}"
    return str(said) if said else ""


def _pictures(model: Evidence) -> list[dict[str, str]]:
    if model.retrained:
        return []  # they are those of other weights
    return _existing({model.checkpoint / file: caption for file, caption in PICTURES.items()})


def _existing(files: dict[Path, tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {
            "uri": f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}",
            "caption": caption,
            "says": says,
        }
        for path, (caption, says) in files.items()
        if path.is_file()
    ]


def tool_versions(models: list[Evidence]) -> dict[str, str]:
    """The packages, server and commit behind the evidence."""
    versions: dict[str, Any] = {}
    for model in models:
        versions |= (model.trained or {}).get("packages", {})
        versions |= model.published.get("packages", {})
        versions |= (model.load or {}).get("versions", {})
        versions |= {"server": model.live["server"]} if model.live and "server" in model.live else {}
        if "git_commit" in model.published:
            versions["git commit"] = model.published["git_commit"] or "not a git checkout"
    return versions
