"""The panel of a model: what goes in, what comes out, what that took, and the call as code."""

from __future__ import annotations

from functools import partial
from html import escape

import numpy as np
from nicegui import ui

from clients import ClientError
from clients.strings import encoded
from conch.page.asking import Answer, Asked
from conch.page.elements import alert, button, choice, html, say, tag
from conch.page.inputs import Input, Latent, inputs_of
from conch.page.prepared import data_uri, shown_pixels
from conch.page.samples import Samples
from conch.page.showing import Context, answer_html, difference_html, usual_numbers
from conch.page.site import Site
from conch.page.snippets import Snippets, snippets
from conch.page.tensors import picture_form
from conch.page.times import times_html

WALK = 8
"""Pictures between two latents."""
NOTHING = "-"


class CodePlace:
    """The call as code: a way to choose, a copy to take, and the files that it reads."""

    def __init__(self) -> None:
        self._way = ""
        self._snippets = Snippets({}, {})
        self._buttons: dict[str, ui.element] = {}
        with tag("section", classes="code", aria_label="Code"):
            tag("h2", "The call as code")
            self._ways = tag("div", classes="row")
            self._code = html()
            self._files = tag("div", classes="row")

    def show(self, made: Snippets) -> None:
        """Show this call."""
        if made.code.keys() != self._buttons.keys():
            self._build_ways(list(made.code))
        self._snippets = made
        self._choose(self._way)

    def _build_ways(self, ways: list[str]) -> None:
        self._way = ways[0]
        self._ways.clear()
        with self._ways:
            self._buttons = {way: button(way, partial(self._choose, way), "quiet") for way in ways}
            tag("button", "Copy", "quiet", type="button").on("click", js_handler=_COPY)

    def _choose(self, way: str) -> None:
        self._way = way
        for name, one in self._buttons.items():  # kept and not made anew: a keyboard stays where it is
            one.props["aria-pressed"] = "true" if name == way else "false"
            one.update()
        code = self._snippets.code[way]
        self._code.set_content(
            f'<pre id="code" tabindex="0" aria-label="code of the call"><code>{escape(code)}</code></pre>'
        )
        self._files.clear()
        with self._files:
            for name, content in self._snippets.files.items():
                if name in code:
                    button(f"Download {name}", partial(ui.download.content, content, name), "quiet")


class Panel:
    """One model on one browser's page. `other` is another version, or model, that is asked the same."""

    def __init__(self, site: Site, asked: Asked, samples: Samples, others: list[tuple[str, str]]) -> None:
        self.site, self.asked, self.samples, self.others = site, asked, samples, others
        self.other: Asked | None = None
        self._busy = self._wanted = False
        self.inputs: dict[str, Input] = inputs_of(site, asked.metadata, samples, self.ask)

    def build(self) -> None:
        """Put it where the page is being built."""
        with tag("div", classes="panel"):
            with tag("section", aria_label="Input"):
                tag("h2", "Input")
                for one in self.inputs.values():
                    one.build()
                if len(self.samples.items):
                    self._build_samples()
                with tag("div", classes="row"):
                    button("Ask the model", self.ask)
                if self.others:
                    options = [
                        (NOTHING, "nothing"),
                        *((f"{model}:{version}", f"{model} version {version}") for model, version in self.others),
                    ]
                    choice("Compare with", options, NOTHING, self._compare)
            with tag("section", aria_label="Answer"):
                tag("h2", "Answer")
                self._alert = alert()
                self._answer = html().props('aria-live="polite"')
                self._answer.set_content('<p class="soft">Nothing is asked yet.</p>')
                self._walk = html()
        self.code = CodePlace()

    async def begin(self) -> None:
        """Ask what there is to be asked with: the first sample, or what inputs begin with."""
        if self.samples.items and not any(isinstance(one, Latent) for one in self.inputs.values()):
            await self._take(0)
        elif all(one.value is not None for one in self.inputs.values()):
            await self.ask()

    async def ask(self) -> None:
        """Ask with what the inputs hold, and show the answer; while one is under way, once more after it."""
        self._wanted = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._wanted:
                self._wanted = False
                await self._ask_once()
        finally:
            self._busy = False

    async def _ask_once(self) -> None:
        optional = {spec.name for spec in self.asked.metadata.inputs if spec.optional}
        missing = [name for name, one in self.inputs.items() if one.value is None and name not in optional]
        if missing:
            say(self._alert, f"{missing[0]} is not given yet")
            return
        try:
            item = {name: _sent(name, one.value) for name, one in self.inputs.items() if one.value is not None}
            shown = await self.site.wait(self._asked, item)
        except ClientError as error:
            say(self._alert, str(error))
            return
        say(self._alert, "")
        self._answer.set_content(shown)
        self.code.show(snippets(self.site.where, self.asked.metadata, self.asked.version, item))
        await self._show_walk()

    def _asked(self, item: dict[str, np.ndarray]) -> str:
        """The answer as HTML, and beside it the other's; waits for the server."""
        first = self.asked.ask(item)
        parts = [self._one(self.asked, first, item)]
        if self.other is None:
            return parts[0]
        second = self.other.ask(item)
        parts.append(self._one(self.other, second, item))
        titles = (self._title(self.asked, first), self._title(self.other, second))
        sides = "".join(f"<div><h3>{escape(title)}</h3>{part}</div>" for title, part in zip(titles, parts, strict=True))
        apart = difference_html(first.outputs, second.outputs, self.asked.metadata)
        return f'<div class="answers">{sides}</div><h3>The difference</h3>{apart}'

    def _title(self, asked: Asked, answer: Answer) -> str:
        return f"{asked.model} version {answer.version}" if answer.version else asked.model

    def _one(self, asked: Asked, answer: Answer, item: dict[str, np.ndarray]) -> str:
        labels = {name: asked.labels(name, item) for name in answer.outputs}
        seen = next((one.seen for one in self.inputs.values() if one.seen is not None), None)
        usual = usual_numbers(self.samples.outputs, asked.metadata)
        shown = answer_html(answer.outputs, Context(asked.metadata, labels, seen, usual))
        return shown + times_html(answer.times, answer.version, self.site.runs_on(asked, answer.version))

    async def _compare(self, chosen: str) -> None:
        model, _, version = chosen.rpartition(":")
        self.other = self.site.asked(model, version) if (model, version) in self.others else None
        await self.ask()

    # ---- samples

    def _build_samples(self) -> None:
        tag("h4", "Samples")
        with tag("div", classes="samples"):
            for n, item in enumerate(self.samples.items):
                made = button("", partial(self._take, n), "sample", aria_label=f"sample {n + 1}")
                with made:
                    html(self._thumbnail(item) or str(n + 1), "span")

    def _thumbnail(self, item: dict[str, np.ndarray]) -> str:
        for spec in self.asked.metadata.inputs:
            if (form := picture_form(spec)) and spec.name in item:
                return f'<img class="pixelated" alt="" src="{data_uri(shown_pixels(item[spec.name], form))}">'
        return ""

    async def _take(self, n: int) -> None:
        for name, one in self.inputs.items():
            if name in self.samples.items[n]:
                await one.take(self.samples.items[n][name])
        await self.ask()

    # ---- the walk of a generator

    async def _show_walk(self) -> None:
        latents = [one for one in self.inputs.values() if isinstance(one, Latent)]
        if not latents:
            return
        (latent,) = latents
        rows = np.stack([latent.between(n / (WALK - 1)) for n in range(WALK)])
        try:
            shown = await self.site.wait(self._walked, latent.spec.name, latent.walk, rows)
        except ClientError:  # its own answer has told
            return
        self._walk.set_content(shown)

    def _walked(self, name: str, title: str, rows: np.ndarray) -> str:
        """Pictures from one latent to the other, in as few requests as the model takes them in."""
        (spec,) = (spec for spec in self.asked.metadata.outputs if picture_form(spec))
        form = picture_form(spec)
        assert form is not None
        if self.asked.metadata.max_batch_size:
            found = list(
                self.asked.client.infer(self.asked.model, {name: rows}, [spec.name], self.asked.version)[spec.name]
            )
        else:
            found = [
                self.asked.client.infer(self.asked.model, {name: row}, [spec.name], self.asked.version)[spec.name]
                for row in rows
            ]
        pictures = "".join(
            f'<img class="pixelated" alt="{n + 1} of {WALK} on the way" src="{data_uri(shown_pixels(one, form))}">'
            for n, one in enumerate(found)
        )
        return f'<section><h4>{escape(title)}</h4><div class="strip">{pictures}</div></section>'


def _sent(name: str, value: np.ndarray) -> np.ndarray:
    """Text as bytes, as it comes back. Raises WrongTensor for what is no text."""
    return encoded(value, name) if value.dtype == object else value


def head(asked: Asked) -> str:
    """What the model takes and gives, in a line."""
    metadata = asked.metadata
    sides = (", ".join(f"{spec.name} {spec}" for spec in specs) for specs in (metadata.inputs, metadata.outputs))
    given, got = (escape(side) for side in sides)
    return f"{given} &rarr; {got}"


def alike(site: Site, asked: Asked) -> list[tuple[str, str]]:
    """Other models and versions that take the same inputs, and have an output in common; waits for the server."""
    own = [(spec.name, spec.dtype, spec.shape) for spec in asked.metadata.inputs]
    outputs = {(spec.name, spec.dtype) for spec in asked.metadata.outputs}
    # Triton asks the newest where no version is named.
    itself = asked.version or max(asked.metadata.versions, key=lambda one: (len(one), one), default="")
    found = []
    for entry in site.client.models():
        if entry.state != "READY" or (entry.name, entry.version) == (asked.model, itself):
            continue
        try:
            metadata = site.client.metadata(entry.name, entry.version)
        except ClientError:
            continue
        if [(spec.name, spec.dtype, spec.shape) for spec in metadata.inputs] == own and outputs & {
            (spec.name, spec.dtype) for spec in metadata.outputs
        }:
            found.append((entry.name, entry.version))
    return found


_COPY = """(event) => {
  navigator.clipboard.writeText(document.getElementById("code").textContent);
  const said = event.currentTarget.firstElementChild;
  said.textContent = "Copied";
  setTimeout(() => (said.textContent = "Copy"), 2000);
}"""
