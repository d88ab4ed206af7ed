"""An answer as HTML: bars, pictures, boxes, masks, text, numbers and tables, whichever its outputs look like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from clients.class_labels import label_of
from clients.signature import Metadata, TensorSpec
from clients.strings import readable
from conch.page.prepared import data_uri, shown_pixels
from conch.page.tensors import item_shape, picture_form
from conch.palette import COLOURS, colours

MOST_BARS, MOST_ROWS, MOST_COLUMNS, MOST_TEXT = 10, 20, 12, 4000
MOST_BOXES, LEAST_SCORE = 50, 0.25


@dataclass(frozen=True)
class Context:
    """What is known beside the answer itself."""

    metadata: Metadata
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By output."""
    seen: np.ndarray | None = None
    """The pixels that went in, UINT8 [height, width, channels]."""
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By output of one number the least and the most of it in the golden answers."""


def answer_html(outputs: Mapping[str, np.ndarray], context: Context) -> str:
    """All outputs of one item, each with its name."""
    specs = {spec.name: spec for spec in context.metadata.outputs}
    found = _boxes(outputs, context)
    html, told = found or ("", set())
    parts = [html]
    for name, array in outputs.items():
        if name not in told and name in specs:
            parts.append(f"<section><h4>{escape(name)}</h4>{_output(name, array, specs[name], context)}</section>")
    return "".join(parts)


def bars_html(rows: Sequence[tuple[str, float]]) -> str:
    """A row each with a bar as long as its value, from 0 to the largest or 1."""
    most = max([1e-12, *(abs(value) for _, value in rows if np.isfinite(value))])
    shares = most <= 1 and all(value >= 0 for _, value in rows)
    longest = 1.0 if shares else most
    cells = "".join(_bar(label, value, longest, shares) for label, value in rows)
    return f'<table class="bars">{cells}</table>'


def _bar(label: str, value: float, longest: float, in_percent: bool) -> str:
    length = min(abs(value) / longest, 1.0) if np.isfinite(value) else 0.0
    return (
        f'<tr><th scope="row">{escape(label)}</th><td class="bar"><div style="width:{length:.1%}"></div></td>'
        f'<td class="n">{share(value) if in_percent else number(value)}</td></tr>'
    )


def picture_html(seen: np.ndarray, caption: str, name: str) -> str:
    """Pixels, UINT8 [height, width, channels], shown large: small ones keep their squares."""
    height, width = seen.shape[:2]
    small = "pixelated" if max(height, width) < 128 else ""
    return (
        f'<figure><img class="{small}" src="{data_uri(seen)}" alt="{escape(name)}: {width} by {height} pixels">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """Cells as text; columns from `numbers_from` are numbers."""
    tops = "".join(f'<th scope="col"{_right(n, numbers_from)}>{escape(cell)}</th>' for n, cell in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{_right(n, numbers_from)}>{escape(cell)}</td>" for n, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{tops}</tr></thead><tbody>{body}</tbody></table></div>'


def difference_html(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], metadata: Metadata) -> str:
    """What two answers to the same input differ in, by output."""
    rows, pictures = [], []
    for spec in metadata.outputs:
        name = spec.name
        if name not in first or name not in second:
            continue
        a, b = first[name], second[name]
        if a.shape != b.shape:
            rows.append((name, f"{list(a.shape)} and {list(b.shape)}", "", ""))
        elif a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
            rows.append((name, "the same" if np.array_equal(a, b) else "not the same", "", ""))
        else:
            same = (a == b) | ((a != a) & (b != b))  # NaN and infinities, too, where both have them
            with np.errstate(invalid="ignore"):
                apart = np.where(same, 0, np.abs(a.astype(np.float64) - b.astype(np.float64)))
            equal = f"{np.count_nonzero(same)} of {a.size}"
            rows.append((name, number(apart.max(initial=0)), number(apart.mean() if apart.size else 0), equal))
            if (form := picture_form(spec)) and apart.size:
                far = np.rint(form.pixels(apart) / max(apart.max(), 1e-12) * 255).astype(np.uint8)
                pictures.append(
                    picture_html(far, f"{name}: where they differ, white the most", f"difference of {name}")
                )
    table = table_html(("output", "largest difference", "mean", "equal numbers"), rows)
    return f'{table}<div class="pictures">{"".join(pictures)}</div>'


def number(value: float) -> str:
    """Four digits, and no more than a person reads."""
    value = float(value)
    if abs(value) < 1e6 and value == int(value):
        return str(int(value))
    return f"{value:.4g}" if not 1e-3 <= abs(value) < 1e4 else f"{value:.4f}".rstrip("0").rstrip(".")


def share(value: float) -> str:
    """In percent, where what is next to nothing is none of its digits' worth."""
    return "< 0.01 %" if 0 < value < 1e-4 else f"{value * 100:.2f} %"


def _output(name: str, array: np.ndarray, spec: TensorSpec, context: Context) -> str:
    if array.dtype == object:
        text = "\n".join(str(item) for item in readable(array).ravel().tolist())
        return f'<p class="text">{escape(text[:MOST_TEXT])}</p>'
    if not array.size:
        return f'<p class="soft">nothing: {list(array.shape)}</p>'
    if array.size == 1:
        return _one_number(name, float(array.reshape(())), context)
    if form := picture_form(spec):
        after = shown_pixels(array, form)
        said = f"{after.shape[1]} by {after.shape[0]} pixels"
        before = picture_html(context.seen, "what went in", "input") if context.seen is not None else ""
        return f'<div class="pictures">{before}{picture_html(after, said, name)}</div>'
    if (classes := _mask(array, context.seen)) is not None:
        return _mask_html(name, classes, context)
    if array.dtype.kind in "fiu" and array.squeeze().ndim == 1 and (context.labels.get(name) or _are_shares(array)):
        return _classes(array.ravel(), context.labels.get(name) or [])
    return _numbers(array, spec)


def _one_number(name: str, value: float, context: Context) -> str:
    usual = context.usual.get(name)
    beside = (
        f'<span class="soft small">, in the samples {number(usual[0])} to {number(usual[1])}</span>' if usual else ""
    )
    return f'<p><strong class="big">{number(value)}</strong>{beside}</p>'


def _are_shares(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(array.min() >= 0) and abs(float(array.sum()) - 1) < 0.001


def _classes(values: np.ndarray, labels: Sequence[str]) -> str:
    order = np.argsort(-values.astype(np.float64), kind="stable")[:MOST_BARS]
    rows = [(labels[n] if n < len(labels) and labels[n] else f"class {n}", float(values[n])) for n in order.tolist()]
    more = f'<p class="small soft">the {len(rows)} highest of {len(values)}</p>' if len(values) > len(rows) else ""
    return bars_html(rows) + more


def _numbers(array: np.ndarray, spec: TensorSpec) -> str:
    """A table of up to two axes, and of more of them what they have in common."""
    said = f"{spec.dtype} {list(array.shape)}"
    plain = array.reshape(1, -1) if array.ndim < 2 else array.reshape(array.shape[-2:]) if _is_flat(array) else None
    if plain is not None and plain.shape[0] <= MOST_ROWS and plain.shape[1] <= MOST_COLUMNS:
        head = [str(n) for n in range(plain.shape[1])]
        rows = [[number(value) for value in row] for row in plain.tolist()]
        if len(rows) > 1:
            head, rows = ["", *head], [[str(n), *row] for n, row in enumerate(rows)]
        return f'<p class="small soft">{said}</p>{table_html(head, rows, numbers_from=0)}'
    numbers = array.astype(np.float64)
    first = ", ".join(number(value) for value in numbers.ravel()[:8].tolist())
    rows = [[said, number(numbers.min()), number(numbers.mean()), number(numbers.max()), f"{first}, ..."]]
    return table_html(("tensor", "least", "mean", "most", "first numbers"), rows)


def _is_flat(array: np.ndarray) -> bool:
    return all(size == 1 for size in array.shape[:-2])


# ---- boxes and masks over the picture


def _boxes(outputs: Mapping[str, np.ndarray], context: Context) -> tuple[str, set[str]] | None:
    """The picture with boxes, and the outputs that are told with it; None where no output has any."""
    if context.seen is None:
        return None
    found = [(name, array.reshape(-1, 4)) for name, array in outputs.items() if _is_boxes(name, array)]
    if len(found) != 1:
        return None
    name, boxes = found[0]
    height, width = context.seen.shape[:2]
    rows = {key: array.ravel() for key, array in outputs.items() if key != name and array.size == len(boxes)}
    scores = next((key for key, array in rows.items() if array.dtype.kind == "f"), None)
    classes = next((key for key, array in rows.items() if array.dtype.kind in "iu" and "count" not in key), None)
    counts = next((key for key, array in outputs.items() if "count" in key and array.size == 1), None)
    most = int(outputs[counts].reshape(())) if counts and len(boxes) > 1 else len(boxes)
    order = range(min(most, len(boxes), MOST_BOXES)) if scores is None else [
        n for n in np.argsort(-rows[scores], kind="stable").tolist() if rows[scores][n] >= LEAST_SCORE and n < most
    ][:MOST_BOXES]  # fmt: skip
    corners = _corners(boxes, width, height)
    labels = context.labels.get(classes or "", ())
    said = [
        (
            label_of(labels, int(rows[classes][n])) if classes else f"box {n}",
            number(rows[scores][n]) if scores else "",
            *(number(round(float(side), 1)) for side in corners[n]),
        )
        for n in order
    ]
    drawing = _boxes_svg(
        context.seen, [corners[n] for n in order], said, [int(rows[classes][n]) if classes else 0 for n in order]
    )
    table = table_html(("class", "score", "left", "top", "right", "bottom"), said)
    none = "" if said else f'<p class="soft">no box with a score of {LEAST_SCORE} or more</p>'
    told = {name, *(key for key in (scores, classes, counts) if key)}
    return f"<section><h4>{escape(name)}</h4>{drawing}{none or table}</section>", told


def _is_boxes(name: str, array: np.ndarray) -> bool:
    return (
        array.ndim >= 2
        and array.shape[-1] == 4
        and array.dtype.kind in "fiu"
        and bool(re.search("box|rect|roi", name, re.I))
    )


def _corners(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Left, top, right, bottom in pixels; boxes as shares of the picture, or with sizes for corners, too."""
    found = boxes.astype(np.float64)
    if found.size and np.abs(found).max() <= 1.5 and max(width, height) > 2:
        found = found * [width, height, width, height]
    if (found[:, 2:] < found[:, :2]).any():
        found = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    return found


def _boxes_svg(
    seen: np.ndarray, corners: Sequence[np.ndarray], said: Sequence[tuple[str, ...]], kinds: Sequence[int]
) -> str:
    height, width = seen.shape[:2]
    line = max(width, height) / 160
    marks = []
    for box, (label, score, *_), kind in zip(corners, said, kinds, strict=True):
        left, top, right, bottom = (float(side) for side in box)
        colour = COLOURS[kind % len(COLOURS)]
        marks.append(
            f'<rect x="{left:.2f}" y="{top:.2f}" width="{max(right - left, 0):.2f}" '
            f'height="{max(bottom - top, 0):.2f}" '
            f'fill="none" stroke="{colour}" stroke-width="{line:.2f}"/>'
            f'<text x="{left + line:.2f}" y="{top + 6 * line:.2f}" font-size="{6 * line:.2f}" fill="{colour}" '
            f'stroke="#fff" stroke-width="{line / 2:.2f}" paint-order="stroke">{escape(label)} {escape(score)}</text>'
        )
    small = "pixelated" if max(height, width) < 128 else ""
    return (
        f'<svg class="over {small}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{len(marks)} boxes over the picture">'
        f'<image href="{data_uri(seen)}" width="{width}" height="{height}"/>{"".join(marks)}</svg>'
    )


def _mask(array: np.ndarray, seen: np.ndarray | None) -> np.ndarray | None:
    """INT [height, width], a class each pixel, where the output has the sides of the picture that went in."""
    if seen is None:
        return None
    height, width = seen.shape[:2]
    flat = array.reshape([size for size in array.shape if size != 1])
    if flat.ndim == 2 and flat.shape == (height, width):
        return flat.astype(np.int64) if flat.dtype.kind in "iub" else (flat > 0.5).astype(np.int64)
    if flat.ndim == 3 and flat.shape[1:] == (height, width):
        return flat.argmax(axis=0)
    if flat.ndim == 3 and flat.shape[:2] == (height, width):
        return flat.argmax(axis=-1)
    return None


def _mask_html(name: str, classes: np.ndarray, context: Context) -> str:
    assert context.seen is not None
    kinds, counts = np.unique(classes, return_counts=True)
    shades = dict(zip(kinds.tolist(), colours(len(kinds)), strict=True))
    grey = np.broadcast_to(context.seen.mean(axis=-1, keepdims=True), (*context.seen.shape[:2], 3))
    over = np.array([[int(shades[kind][at : at + 2], 16) for at in (1, 3, 5)] for kind in kinds.tolist()], float)
    mixed = 0.5 * grey + 0.5 * over[np.searchsorted(kinds, classes)]
    if kinds[0] == 0 and len(kinds) > 1:  # the ground is left as it is
        mixed = np.where((classes == 0)[..., None], grey, mixed)
    labels = context.labels.get(name, ())
    shares = [(label_of(labels, int(kind)), count / classes.size) for kind, count in zip(kinds, counts, strict=True)]
    shares.sort(key=lambda pair: -pair[1])
    return (
        f'<div class="pictures">{picture_html(context.seen, "what went in", "input")}'
        f"{picture_html(np.rint(mixed).astype(np.uint8), name, name)}</div>{bars_html(shares[:MOST_BARS])}"
    )


def _right(column: int, numbers_from: int) -> str:
    return ' class="n"' if column >= numbers_from else ""


def usual_numbers(outputs: Mapping[str, np.ndarray], metadata: Metadata) -> dict[str, tuple[float, float]]:
    """Of golden outputs (axis 0 the item) the least and the most of those that are one number an item."""
    single = {spec.name for spec in metadata.outputs if int(np.prod([abs(n) for n in item_shape(spec)])) == 1}
    return {
        name: (float(array.min()), float(array.max()))
        for name, array in outputs.items()
        if name in single and array.size and array.dtype.kind in "fiu"
    }
