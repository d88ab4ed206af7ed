"""The panel of a model of characters: the likeliest next ones while one types, and text that grows."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np

from clients import ClientError, WrongKind, WrongTensor
from clients.text import CharacterModel, Characters, CharacterStream
from conch.page.asking import Asked
from conch.page.elements import alert, button, choice, html, say, slider, tag, text_field
from conch.page.model_page import NOTHING, CodePlace
from conch.page.showing import bars_html, share
from conch.page.site import Site
from conch.page.snippets import snippets
from conch.page.tensors import reads_characters
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


def others_of_characters(asked: Asked) -> list[str]:
    """Other models that may be some of characters. Waits for the server. Raises ClientError."""
    names = sorted({entry.name for entry in asked.client.models() if entry.state == "READY"} - {asked.model})
    return [name for name in names if reads_characters(asked.client.metadata(name))]


class CharacterPanel:
    """A text goes in; what may follow comes out. `others` are the names of models that may be asked the same."""

    def __init__(self, site: Site, asked: Asked, characters: Characters, others: list[str]) -> None:
        self.site, self.asked, self.characters, self.others = site, asked, characters, others
        self.other: tuple[Asked, Characters] | None = None
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
                if self.others:
                    options = [(NOTHING, "nothing"), *((name, name) for name in self.others)]
                    choice("Compare with", options, NOTHING, self._compare)
            with tag("section", aria_label="Answer"):
                tag("h2", "Answer")
                self._alert = alert()
                tag("h4", f"The {LIKELIEST} likeliest next characters")
                self._next = html().props('aria-live="polite"')
                tag("h4", "Completion")
                self._grown = html(name="p").classes("text").props('aria-label="completion"')
                self._time = html().props('aria-live="polite"')
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
        first, shown = self._one(self.asked, self.characters, text)
        if self.other is not None:
            second, beside = self._one(*self.other, text)
            shown = self._side_by_side(shown, beside, first, second)
        (spec,) = self.asked.metadata.inputs
        return shown, {spec.name: tokens[-1:] if self.asked.metadata.stateful else tokens}

    def _one(self, asked: Asked, characters: Characters, text: str) -> tuple[dict[str, float], str]:
        """The share of every character, and the likeliest as HTML."""
        tokens = characters.encode(text)[-CONTEXT:]
        probabilities, version, times = asked.timed(lambda: characters.next_probabilities(tokens))
        rows = [(_shown(character), part) for character, part in characters.likeliest(probabilities, LIKELIEST)]
        runs_on = self.site.runs_on(asked, version)
        every = dict(zip(characters.vocabulary, probabilities.tolist(), strict=True))
        return every, bars_html(rows) + times_html(times, version, runs_on)

    def _side_by_side(self, shown: str, beside: str, first: dict[str, float], second: dict[str, float]) -> str:
        assert self.other is not None
        titled = ((self.asked.model, shown), (self.other[0].model, beside))
        sides = "".join(f"<div><h3>{escape(name)}</h3>{part}</div>" for name, part in titled)
        apart = {one: abs(first.get(one, 0.0) - second.get(one, 0.0)) for one in first.keys() | second.keys()}
        most = max(apart, key=lambda one: (apart[one], one))
        said = f"at most {share(apart[most])}, of {escape(repr(_shown(most)))}"
        return f'<div class="answers">{sides}</div><h3>The difference</h3><p>{said}</p>'

    async def _compare(self, name: str) -> None:
        self.other = None
        if name in self.others:
            asked = self.site.asked(name)
            try:
                found = await self.site.wait(characters_of, asked)
            except ClientError as error:
                say(self._alert, str(error))
                return
            if found is None:
                say(self._alert, f"{name} is no model of characters")
                return
            self.other = asked, found
        await self._typed(self.text)

    async def complete(self) -> None:
        """Let the text grow, a request or more for each character."""
        if self._growing:
            return
        self._growing, grown, spent = True, "", 0.0
        text = self.text
        drawn = self.characters.sample(text, self.length, self.seed, self.temperature, CONTEXT)
        try:
            while self._growing and not self._grown.is_deleted:
                character, _, times = await self.site.wait(self.asked.timed, lambda: next(drawn, None))
                if character is None:
                    break
                spent += times.whole
                grown += character
                self._grown.set_content(f'{escape(text)}<span class="new">{escape(grown)}</span>')
            per_s = len(grown) / max(spent, 1e-9) * 1e3
            self._time.set_content(f'<p class="times small">{len(grown)} characters, {per_s:.0f} a second</p>')
            say(self._alert, "")
        except ClientError as error:
            say(self._alert, str(error))
        finally:
            self._growing = False
            await self.site.wait(drawn.close)  # which ends the sequence that the server keeps for it

    def stop(self) -> None:
        """Let it be."""
        self._growing = False

    def _set(self, name: str) -> Callable[[float], None]:
        def moved(number: float) -> None:
            setattr(self, name, number if name == "temperature" else int(number))

        return moved


def _shown(character: str) -> str:
    """One that can be seen."""
    return {" ": "space", "\n": "new line", "\t": "tab"}.get(character, character)
