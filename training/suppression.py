"""Non-maximum suppression as a fixed number of matrix operations, which every exporter and runtime has."""

from __future__ import annotations

import torch


def suppressed(boxes: torch.Tensor, classes: torch.Tensor, overlap: float) -> torch.Tensor:
    """Which of the boxes greedy suppression takes away: those that overlap a better one of their class that is kept.

    Boxes depend on each other along a chain only: the first of it is kept, the second not, the third is again. Each
    round settles one more link, so that as many rounds as there are boxes give what the greedy loop gives.

    Args:
        boxes: float [batch, n, 4]: left, top, right, bottom; the best first.
        classes: int [batch, n].
        overlap: intersection over union above which one of two is taken away.

    Returns:
        bool [batch, n].
    """
    count = boxes.shape[1]
    better = torch.ones(count, count, dtype=torch.bool, device=boxes.device).triu(1)
    alike = classes.unsqueeze(2) == classes.unsqueeze(1)
    hits = ((intersection_over_union(boxes) > overlap) & alike & better).float()
    kept = torch.ones_like(boxes[..., 0])
    for _ in range(count - 1):
        kept = (torch.einsum("bi,bij->bj", kept, hits) == 0).float()
    return kept == 0


def intersection_over_union(boxes: torch.Tensor) -> torch.Tensor:
    """Of each pair of boxes [batch, n, 4] of an image: [batch, n, n]; 0 where both are empty."""
    low, high = boxes[..., :2], boxes[..., 2:]
    both = torch.minimum(high.unsqueeze(2), high.unsqueeze(1)) - torch.maximum(low.unsqueeze(2), low.unsqueeze(1))
    inner = both.clamp(min=0).prod(3)
    areas = (high - low).clamp(min=0).prod(2)
    return inner / (areas.unsqueeze(2) + areas.unsqueeze(1) - inner).clamp(min=1e-6)
