"""The models of a report by family: the demo's five, the folders of the shipped recipes, and all others."""

from __future__ import annotations

from collections.abc import Iterable

from conch.report.evidence import Evidence
from training.catalogue import DEMO, NETWORKS, family

OTHERS = "others"


def family_of(model: Evidence) -> str:
    """Its recipe's; a module, an ONNX file and a recipe of somebody's own are among the others."""
    if model.recipe in DEMO:
        return "demo"
    return family(model.recipe) if model.recipe in NETWORKS else OTHERS


def by_family(models: Iterable[Evidence]) -> list[Evidence]:
    """The demo's first, then family by family, what is nobody's at the end; in each by name."""
    return sorted(models, key=lambda model: (_place(family_of(model)), model.name))


def _place(name: str) -> tuple[int, str]:
    return {"demo": 0, OTHERS: 2}.get(name, 1), name
