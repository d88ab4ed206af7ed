"""How detectors are judged: the average precision of each class, and its mean (Everingham and others, 2010)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.canvases import Scenes

OVERLAP = 0.5


def mean_average_precision(found: Mapping[str, NDArray[Any]], truth: Scenes, classes: int) -> float:
    """Mean over the classes of the area below precision by recall.

    Args:
        found: `boxes` [n, k, 4], `scores` [n, k], `classes` [n, k] and `count` [n, 1] of n images.
        truth: what is on them.
        classes: how many there are; one that is on no image counts for nothing.
    """
    counted = np.arange(found["scores"].shape[1]) < found["count"]
    precisions = []
    for kind in range(classes):
        wanted = int((truth.classes == kind).sum())
        if wanted:
            images, places = np.nonzero(counted & (found["classes"] == kind))
            order = np.argsort(-found["scores"][images, places].astype(np.float64), kind="stable")
            right = _right(found["boxes"], images[order], places[order], truth, kind)
            precisions.append(average_precision(right, wanted))
    return float(np.mean(precisions))


def average_precision(right: NDArray[np.bool_], wanted: int) -> float:
    """Area below the precision, made to fall, by recall; `right` of all answers, the surest first."""
    if not len(right):
        return 0.0
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]
    return float((precision * right).sum() / wanted)


def _right(
    boxes: NDArray[Any], images: NDArray[np.intp], places: NDArray[np.intp], truth: Scenes, kind: int
) -> NDArray[np.bool_]:
    """Which answers overlap something of their class that no surer one has found already."""
    taken = np.zeros(truth.classes.shape, bool)
    right = np.zeros(len(images), bool)
    for index, (image, place) in enumerate(zip(images, places, strict=True)):
        overlaps = _overlaps(boxes[image, place].astype(np.float64), truth.boxes[image].astype(np.float64))
        overlaps[(truth.classes[image] != kind) | taken[image]] = 0
        best = int(overlaps.argmax())
        if overlaps[best] >= OVERLAP:
            taken[image, best] = right[index] = True
    return right


def _overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box [4] with others [n, 4]: [n]."""
    both = (np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])).clip(0).prod(1)
    areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    return both / np.maximum(areas - both, 1e-9)
