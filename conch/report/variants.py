"""All published precisions of each recipe side by side."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from conch.report.evidence import Evidence
from conch.report.summary import NOT_RUN


def variant_rows(models: list[Evidence]) -> list[dict[str, Any]]:
    """A row a model, those of one recipe together and fp32 first; `first` marks the first of a recipe."""
    # What a recipe serves besides, as a model that keeps a state, is no precision of the first.
    known = [model for model in models if model.published.get("recipe") and not model.published.get("states")]
    known.sort(key=lambda model: (model.published["recipe"], model.published["precision"] != "fp32", model.name))
    rows = []
    for _, group in groupby(known, key=lambda model: str(model.published["recipe"])):
        members = list(group)
        rows += [_row(model, members[0]) | {"first": model is members[0]} for model in members]
    return rows


def _row(model: Evidence, first: Evidence) -> dict[str, Any]:
    published = model.published
    variant = published.get("variant", {})
    live = {metric["name"]: metric["value"] for metric in (model.live or {}).get("score", [])}
    return {
        "model": model.name,
        "version": model.version.name,
        "recipe": published["recipe"],
        "precision": published["precision"],
        "how": variant.get("method", "-"),
        "kept": f"{len(variant['kept_in_fp32'])} of {variant['layers']}" if variant else "-",
        "bytes": f"{published['bytes']:,}",
        "share": f"{published['bytes'] / first.published['bytes']:.2f}",
        "speed": f"{variant['speedup']:.2f}" if variant else "1",
        "nodes": published["nodes"],
        "opset": published["opset"],
        "scores": [
            {
                "text": f"{metric['name']} {metric['value']:.4f} {metric['unit']}".rstrip(),
                "live": f"{live[metric['name']]:.4f}" if metric["name"] in live else NOT_RUN,
            }
            for metric in published.get("score", {}).get("onnx", [])
        ],
    }
