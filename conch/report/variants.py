"""All published precisions of each model side by side."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from conch.report.evidence import Evidence
from conch.report.summary import NOT_RUN


def variant_rows(models: list[Evidence]) -> list[dict[str, Any]]:
    """A row a model where there are several precisions, fp32 first; `first` marks the first of an origin.

    An origin is the fp32 model.
    """
    shared = Counter(_origin(model) for model in models)
    known = [model for model in models if shared[_origin(model)] > 1]
    known.sort(key=lambda model: (_origin(model), _precision(model) != "fp32", model.name))
    rows = []
    for _, group in groupby(known, key=_origin):
        members = list(group)
        rows += [_row(model, members[0]) | {"first": model is members[0]} for model in members]
    return rows


def _origin(model: Evidence) -> str:
    return str(model.published.get("variant", {}).get("of", model.name))


def _precision(model: Evidence) -> str:
    """An ONNX file that is served as it came does not say; it is what its variants are made from."""
    return str(model.published.get("precision", "fp32"))


def _row(model: Evidence, first: Evidence) -> dict[str, Any]:
    published = model.published
    variant = published.get("variant", {})
    live = {metric["name"]: metric["value"] for metric in (model.live or {}).get("score", [])}
    whole = variant.get("fp32_bytes", first.published["bytes"])
    return {
        "model": model.name,
        "version": model.version.name,
        "origin": _origin(model),
        "precision": _precision(model),
        "how": variant.get("method", "-"),
        "judge": variant.get("judged_by", "-"),
        "kept": f"{len(variant['kept_in_fp32'])} of {variant['layers']}" if variant else "-",
        "bytes": f"{published['bytes']:,}",
        "share": f"{published['bytes'] / whole:.2f}",
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
