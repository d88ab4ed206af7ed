"""The panel of a model of characters: the likeliest next ones while one types, and text that grows."""

from __future__ import annotations

from html import escape

import numpy as np

from clients import ClientError, WrongKind, WrongTensor
from clients.text import CharacterModel, Characters, CharacterStream
from conch.page.asking import Asked, Times
from conch.page.elements import alert, button, html, say, slider, tag, text_field
from conch.page.model_page import CodePlace
from conch.page.showing import bars_html
from conch.page.site import Site
from conch.page.snippets import snippets
from conch.page.times import times_html

LIKELIEST = 5
CONTEXT = 256
"""Characters that the next one is asked for with."""


def characters_of(asked: Asked) -> Characters | None:
    """The model as one of characters; None where its labels are none. Waits for the server. Raises ClientError."""
    kind = CharacterStream if asked.metadata.stateful else CharacterModel
    try:
        found = kind(asked.client, asked.model)
        return found if found.vocabulary else None
    except (WrongKind, WrongTensor):
        return None


class CharacterPanel:
    """A text goes in; what may follow comes out."""

    def __init__(self, site: Site, asked: Asked, characters: Characters) -> None:
        self.site, self.asked, self.characters = site, asked, characters
        self.text, self.length, self.temperature, self.seed = "The ", 200, 0.8, 0
        self._busy = self._wanted = self._growing = False

    def build(self) -> None:
        """Put it where the page is being built."""
        with tag("div", classes="panel"):
            with tag("section", aria_label="Input"):
                tag("h2", "Input")
                text_field("Text", self.text, self._typed, rows=5, maxlength="20000", spellcheck="false")
                slider("characters to add", 10, 1000, self.length, self._set("length"), whole=True)
                slider("temperature", 0, 2, self.temperature, self._set("temperature"))
                slider("seed", 0, 100, self.seed, self._set("seed"), whole=True)
                with tag("div", classes="row"):
                    button("Complete", self.complete)
                    button("Stop", self.stop, "quiet")
            with tag("section", aria_label="Answer"):
                tag("h2", "Answer")
                self._alert = alert()
                tag("h4", f"The {LIKELIEST} likeliest next characters")
                self._next = html()
                tag("h4", "Completion")
                self._grown = html(name="p").classes("text").props('aria-live="polite" aria-label="completion"')
                self._time = html()
        self.code = CodePlace()

    async def begin(self) -> None:
        """Ask with the text that is there."""
        await self._typed(self.text)

    async def _typed(self, text: str) -> None:
        self.text = text
        self._wanted = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._wanted:
                self._wanted = False
                await self._ask_once(self.text)
        finally:
            self._busy = False

    async def _ask_once(self, text: str) -> None:
        try:
            shown, token = await self.site.wait(self._likeliest, text)
        except ClientError as error:
            say(self._alert, str(error))
            return
        say(self._alert, "")
        self._next.set_content(shown)
        self.code.show(snippets(self.site.where, self.asked.metadata, self.asked.version, token))

    def _likeliest(self, text: str) -> tuple[str, dict[str, np.ndarray]]:
        """Bars as HTML, and the tensor of a request; waits for the server."""
        tokens = self.characters.encode(text)[-CONTEXT:]
        probabilities, version, times = self.asked.timed(lambda: self.characters.next_probabilities(tokens))
        rows = [(_shown(character), share) for character, share in self.characters.likeliest(probabilities, LIKELIEST)]
        (spec,) = self.asked.metadata.inputs
        item = tokens[-1:] if self.asked.metadata.stateful else tokens
        return bars_html(rows) + times_html(times, version, self.site.runs_on(self.asked, version)), {spec.name: item}

    async def complete(self) -> None:
        """Let the text grow, a request or more for each character."""
        if self._growing:
            return
        self._growing, grown = True, ""
        try:
            drawn = self.characters.sample(self.text, self.length, self.seed, self.temperature, CONTEXT)
            start = Times(0)
            while self._growing:
                character, _, times = await self.site.wait(self.asked.timed, lambda: next(drawn, None))
                if character is None:
                    break
                start = Times(start.whole + times.whole)
                grown += character
                self._grown.set_content(f'{escape(self.text)}<span class="new">{escape(grown)}</span>')
            if grown:
                per_s = len(grown) / max(start.whole, 1e-9) * 1e3
                self._time.set_content(f'<p class="times small">{len(grown)} characters, {per_s:.0f} a second</p>')
            say(self._alert, "")
        except ClientError as error:
            say(self._alert, str(error))
        finally:
            self._growing = False

    def stop(self) -> None:
        """Let it be."""
        self._growing = False

    def _set(self, name: str):  # type: ignore[no-untyped-def]
        def moved(number: float) -> None:
            setattr(self, name, number if name == "temperature" else int(number))

        return moved


def _shown(character: str) -> str:
    """One that can be seen."""
    return {" ": "space", "\n": "new line", "\t": "tab"}.get(character, character)
