"""Differences between answers as a person reads them: of pixels in steps of a pixel, of floats in powers of ten."""

from __future__ import annotations

from typing import Any

RANGE = {"UINT8": 255, "INT8": 255}
"""How many steps the smallest whole numbers have, which pixels are kept in."""
FLOATS = ("FP16", "BF16", "FP32", "FP64")


def difference_text(difference: float | None, data_type: str, digits: int = 1) -> str:
    """`3.2e-07`, `1 of 255`, `0`; "failed" where there is none.

    Args:
        difference: the absolute one.
        data_type: of the output, on the wire; "" where it is not known.
        digits: behind the point, of floats.
    """
    if difference is None:
        return "failed"
    if difference == 0:
        return "0"
    if data_type in RANGE:
        return f"{difference:g} of {RANGE[data_type]}"
    return f"{difference:.{digits}e}" if data_type in FLOATS or not data_type else f"{difference:g}"


def nearest_to_tolerance(cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The cell of a parity grid that uses most of what is allowed, of outputs of any type; None where all failed."""
    known = [cell for cell in cells if cell["difference"] is not None]
    return max(known, key=_share, default=None)


def _share(cell: dict[str, Any]) -> tuple[float, float]:
    absolute = cell["tolerance"][0]
    return (cell["difference"] / absolute if absolute else float(cell["difference"] > 0)), cell["difference"]
