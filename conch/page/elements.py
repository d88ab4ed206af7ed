"""The elements that the page is built of: HTML's own, which a keyboard, a phone and a screen reader know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import numpy as np
from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from conch.page.strokes import Ink

Handler = Callable[[], Awaitable[None] | None]
Said = Callable[[str], Awaitable[None] | None]


class Given(Element, component="given.js"):
    """Takes strokes, a file or a picture of the webcam.

    Args:
        label: What it is for.
        url: Where files are posted to.
        most: Bytes of a file.
        accept: Files to offer, as an input element has it.
        ink: What strokes look like; None for what cannot be drawn.
        sides: Width by height of what is drawn on, in pixels.
        on_strokes: Is given all strokes, each FP64 [points, 2] from 0 to 1.
    """

    def __init__(
        self,
        label: str,
        url: str,
        most: int,
        accept: str,
        ink: Ink | None = None,
        sides: tuple[int, int] = (280, 280),
        on_strokes: Callable[[list[np.ndarray]], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        drawing = ink is not None
        self._props.update(label=label, url=url, most=most, accept=accept, draw=drawing, webcam="image" in accept)
        self._props.update(upload="Upload a picture" if "image" in accept else "Choose a file")
        if ink is not None:
            grey = (f"rgb({level},{level},{level})" for level in (ink.ground, ink.ink))
            self._props.update(zip(("ground", "ink"), grey, strict=True))
            self._props.update(width=sides[0], height=sides[1], pen=min(max(ink.thickness, 0.02), 0.1))

        async def told(event: GenericEventArguments) -> None:
            if on_strokes is not None and (strokes := _strokes(event.args)):
                await on_strokes(strokes)

        self.on("strokes", told)


def _strokes(said: Any) -> list[np.ndarray]:
    """What a browser sent, where it is strokes."""
    try:
        found = [np.asarray(stroke, np.float64).reshape(-1, 2) for stroke in said]
    except (TypeError, ValueError):
        return []
    return [stroke for stroke in found if len(stroke) and np.isfinite(stroke).all()]


def tag(name: str, text: str = "", classes: str = "", **attributes: str) -> ui.element:
    """An element with text in it."""
    made = ui.element(name).classes(classes)
    for key, value in attributes.items():
        made.props[key.rstrip("_").replace("_", "-")] = value
    if text:
        with made:
            ui.html(_escaped(text), sanitize=False, tag="span")
    return made


def html(text: str = "", name: str = "div") -> ui.html:
    """What this package made itself, of escaped parts."""
    return ui.html(text, sanitize=False, tag=name)


def button(text: str, on_click: Handler, classes: str = "", **attributes: str) -> ui.element:
    """A button."""
    return tag("button", text, classes, type="button", **attributes).on("click", lambda: on_click(), args=[])


def choice(label: str, options: Sequence[tuple[str, str]], chosen: str, on_choice: Said) -> ui.element:
    """A list to choose from; options are values and what stands for them."""
    with ui.element("label").classes("field"):
        tag("span", label)
        made = ui.element("select").on("change", lambda event: on_choice(str(event.args)), js_handler=_VALUE)
        with made:
            for value, text in options:
                option = tag("option", text, value=value)
                if value == chosen:
                    option.props["selected"] = True
    return made


def text_field(label: str, value: str, on_text: Said, rows: int = 0, **attributes: str) -> ui.element:
    """A line, or some `rows` of text; `on_text` is told while one types, at most some times a second."""
    with ui.element("label").classes("field"):
        tag("span", label)
        made = ui.element("textarea" if rows else "input")
    made.props.update({key.replace("_", "-"): said for key, said in attributes.items()})
    if rows:
        made.props["rows"] = str(rows)
    made.props[_FIRST_VALUE] = value
    made.on("input", lambda event: on_text(str(event.args)), js_handler=_VALUE, throttle=0.2)
    return made


def slider(
    label: str, low: float, high: float, value: float, on_number: Callable[[float], Any], whole: bool = False
) -> ui.element:
    """A number to move between two, with a field of its own to be typed in."""
    step = "1" if whole else f"{(high - low) / 200 or 1:.6g}"
    ends = {"min": f"{low:.9g}", "max": f"{high:.9g}", "step": step}
    with ui.element("label").classes("field slider"):
        tag("span", label)
        made = ui.element("input")
        made.props.update({"type": "range", **ends, _FIRST_VALUE: f"{value:.9g}"})
        shown = tag("output", "")
        with shown:
            number = html(f"{value:.4g}", "span")

    def told(event: GenericEventArguments) -> Any:
        try:
            found = float(event.args)
        except (TypeError, ValueError):
            return None
        if not low <= found <= high:
            return None
        number.set_content(f"{found:.4g}")
        return on_number(found)

    made.on("input", told, js_handler=_VALUE, throttle=0.1)
    return made


def alert() -> ui.html:
    """A place for one line that says what went wrong; a screen reader reads it out."""
    made = html(name="p").classes("bad-text")
    made.props["role"] = "alert"
    return made


def say(place: ui.html, text: str) -> None:
    """Put a text where HTML can stand."""
    place.set_content(_escaped(text))


def links(targets: Iterable[tuple[str, str]], current: str) -> None:
    """Texts that lead somewhere."""
    for text, target in targets:
        link = tag("a", text, href=target)
        if target == current:
            link.props["aria-current"] = "page"


_FIRST_VALUE = ".defaultValue"
"""What a field begins with. As `value` Vue would put it back over what was typed, whenever the page changes."""
_VALUE = "(event) => emit(event.target.value)"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
