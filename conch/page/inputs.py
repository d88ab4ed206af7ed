"""What a person gives an input with, each kind a class: pictures, text, sliders, latents, files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import numpy as np
from nicegui import ui
from PIL import Image

from clients.pictures import preparation_of
from clients.signature import Metadata, TensorSpec
from conch.page.arrays import read_array
from conch.page.elements import Given, button, choice, html, slider, tag, text_field
from conch.page.prepared import (
    SCALES,
    data_uri,
    likely_scale,
    picture_tensor,
    shown_pixels,
    uploaded,
)
from conch.page.samples import Samples
from conch.page.site import MOST_BYTES, Site
from conch.page.strokes import MNIST, drawn, ink_of
from conch.page.tensors import PictureForm, input_kind, is_latent, item_shape, numpy_dtype, picture_form

Changed = Callable[[], Awaitable[None]]


class Input(ABC):
    """One input of a model. `value` is one item without a batch axis, None before there is one."""

    def __init__(self, spec: TensorSpec, samples: Samples, changed: Changed) -> None:
        self.spec, self.samples, self.changed = spec, samples, changed
        self.value: np.ndarray | None = None

    @abstractmethod
    def build(self) -> None:
        """Put its elements where the page is being built."""

    async def take(self, value: np.ndarray) -> None:
        """Show and keep a sample."""
        self.value = value

    @property
    def seen(self) -> np.ndarray | None:
        """The pixels of a picture, UINT8 [height, width, channels]."""
        return None


class Picture(Input):
    """Drawn, uploaded, or of the webcam."""

    def __init__(self, site: Site, metadata: Metadata, spec: TensorSpec, samples: Samples, changed: Changed) -> None:
        super().__init__(spec, samples, changed)
        self.site = site
        form = picture_form(spec)
        assert form is not None
        self.form: PictureForm = form
        self.preparation = preparation_of(metadata)
        examples = samples.of(spec.name)
        self.scale = likely_scale(examples)
        self.ink = MNIST if form.channels == 1 else ink_of(np.full((1, 4, 4, 3), 255, np.uint8))
        if examples is not None:
            self.ink = ink_of(np.stack([shown_pixels(one, form) for one in examples]))
        self._turn = 0
        self._image: Image.Image | None = None
        """What was given last, of any size."""
        self._seen: np.ndarray | None = None

    @property
    def seen(self) -> np.ndarray | None:
        return self._seen

    def build(self) -> None:
        height, width = (side if side > 0 else 256 for side in (self.form.height, self.form.width))
        longest = 320 / max(height, width)
        sides = max(32, round(width * longest)), max(32, round(height * longest))
        url = self.site.receive(self._file)
        Given(self.spec.name, url, MOST_BYTES, "image/*", self.ink, sides, self._strokes)
        if self.spec.dtype != "UINT8":
            options = [(scale, scale) for scale in SCALES]
            choice(f"{self.spec.name}: pixels as numbers", options, self.scale, self._scaled)
        self._shown = html()

    async def take(self, value: np.ndarray) -> None:
        self._image, self.value, self._seen = None, value, shown_pixels(value, self.form)
        self._show()

    async def _strokes(self, strokes: list[np.ndarray]) -> None:
        height, width = (side if side > 0 else 256 for side in (self.form.height, self.form.width))
        await self._use(drawn(strokes, height, width, self.ink))

    async def _file(self, content: bytes, name: str) -> None:
        await self._use(await self.site.wait(uploaded, content, name))

    async def _use(self, image: Image.Image) -> None:
        self._turn = turn = self._turn + 1
        found = await self.site.wait(picture_tensor, image, self.spec, self.preparation, self.scale)
        if turn != self._turn:  # another came meanwhile
            return
        self._image, (self.value, self._seen) = image, found
        self._show()
        await self.changed()

    async def _scaled(self, scale: str) -> None:
        self.scale = scale if scale in SCALES else self.scale
        if self._image is not None:
            await self._use(self._image)

    def _show(self) -> None:
        assert self._seen is not None
        height, width = self._seen.shape[:2]
        small = "pixelated" if max(height, width) < 128 else ""
        self._shown.set_content(
            f'<figure class="sent"><img class="{small}" src="{data_uri(self._seen)}" alt="what the model is sent">'
            f"<figcaption>what the model is sent: {width} by {height}</figcaption></figure>"
        )


class Text(Input):
    """A text."""

    def build(self) -> None:
        self._place = ui.element("div")
        self._field("")

    def _field(self, text: str) -> None:
        self._place.clear()
        with self._place:
            text_field(self.spec.name, text, self._typed, rows=4, maxlength="100000")

    async def take(self, value: np.ndarray) -> None:
        self.value = value
        words = [
            word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in value.ravel().tolist()
        ]
        self._field(words[0] if words else "")

    async def _typed(self, text: str) -> None:
        self.value = np.full([max(size, 1) for size in item_shape(self.spec)], text, dtype=object)
        await self.changed()


class Sliders(Input):
    """A few numbers, each between the least and the most of the samples."""

    def build(self) -> None:
        self._place = ui.element("div")
        shape = item_shape(self.spec)
        self.value = np.zeros(shape, numpy_dtype(self.spec))
        examples = self.samples.of(self.spec.name)
        self._low, self._high = _range(examples, self.spec, int(self.value.size))
        if examples is not None:
            self.value = np.array(examples[0])
        self._build_sliders()

    def _build_sliders(self) -> None:
        assert self.value is not None
        self._place.clear()
        with self._place:
            for n, number in enumerate(self.value.ravel().tolist()):
                name = self.spec.name if self.value.size == 1 else f"{self.spec.name} {n}"
                low, high = min(self._low[n], float(number)), max(self._high[n], float(number))
                slider(name, low, high, float(number), self._moved(n), whole=self.spec.dtype not in ("FP32", "FP64"))

    def _moved(self, n: int) -> Callable[[float], Awaitable[None]]:
        async def moved(number: float) -> None:
            assert self.value is not None
            value = self.value.copy()
            value.ravel()[n] = number
            self.value = value
            await self.changed()

        return moved

    async def take(self, value: np.ndarray) -> None:
        self.value = np.array(value)
        self._build_sliders()


class Latent(Input):
    """Normally distributed numbers that a picture is drawn from, between two seeds, or a sample and a seed."""

    def build(self) -> None:
        self.first, self.second, self.share = 0, 1, 0.0
        self._sample: np.ndarray | None = None
        self.value = self.between(0.0)
        self._place = ui.element("div")
        self._build_fields()
        button("Two others", self._others, "quiet")

    @property
    def walk(self) -> str:
        """What its pictures are of, to read."""
        return f"From the {'first seed' if self._sample is None else 'sample'} to the second seed"

    def _build_fields(self) -> None:
        self._place.clear()
        with self._place:
            for label, name in (("first seed", "first"), ("second seed", "second")):
                shown = "" if name == "first" and self._sample is not None else str(getattr(self, name))
                text_field(label, shown, self._seeded(name), type="number", min="0", inputmode="numeric")
            slider("between them", 0, 1, self.share, self._moved)

    async def take(self, value: np.ndarray) -> None:
        """The way begins at the sample, with the slider."""
        self._sample, self.share = np.asarray(value, np.float32), 0.0
        self.value = self.between(0.0)
        self._build_fields()

    def between(self, share: float) -> np.ndarray:
        """The latent of this share of the way along the sphere that both ends lie about.

        Source: White, "Sampling Generative Networks", 2016, spherical interpolation.
        """
        a = self._drawn(self.first) if self._sample is None else self._sample
        b = self._drawn(self.second)
        cosine = float(np.clip(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12), -1, 1))
        angle = np.arccos(cosine)
        if min(angle, np.pi - angle) < 1e-3:
            return np.asarray((1 - share) * a + share * b, np.float32)
        return np.asarray((np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle), np.float32)

    def _drawn(self, seed: int) -> np.ndarray:
        """As `conch call generate --seed` draws it."""
        return np.random.default_rng(seed).standard_normal((1, *item_shape(self.spec)), dtype=np.float32)[0]

    def _seeded(self, name: str) -> Callable[[str], Awaitable[None]]:
        async def typed(text: str) -> None:
            if text.isdecimal() and len(text) < 19:
                setattr(self, name, int(text))
                if name == "first":
                    self._sample = None
                await self._moved(self.share)

        return typed

    async def _moved(self, share: float) -> None:
        self.share = min(max(share, 0.0), 1.0)
        self.value = self.between(self.share)
        await self.changed()

    async def _others(self) -> None:
        self.first, self.second = (int(seed) for seed in np.random.default_rng().integers(0, 10_000, 2))
        self._sample = None
        self._build_fields()
        await self._moved(self.share)


class File(Input):
    """An array from a file, of any type and shape."""

    def __init__(self, site: Site, spec: TensorSpec, samples: Samples, changed: Changed) -> None:
        super().__init__(spec, samples, changed)
        self.site = site

    def build(self) -> None:
        shape = ", ".join("any" if size == -1 else str(size) for size in item_shape(self.spec))
        tag("h4", f"{self.spec.name}: {self.spec.dtype} [{shape}]")
        Given(self.spec.name, self.site.receive(self._file), MOST_BYTES, ".npy,.json,.txt")
        tag(
            "p",
            "A .npy file, a JSON list, or lines of text; one item, with or without a batch axis of 1.",
            "small soft",
        )
        self._shown = html(name="p").classes("small")

    async def take(self, value: np.ndarray) -> None:
        self.value = value
        self._shown.set_content(f"{value.size} numbers, {list(value.shape)}")

    async def _file(self, content: bytes, name: str) -> None:
        value = await self.site.wait(read_array, content, name or "the file", self.spec)
        await self.take(value)
        await self.changed()


def inputs_of(site: Site, metadata: Metadata, samples: Samples, changed: Changed) -> dict[str, Input]:
    """An input element for each input of the model."""
    found: dict[str, Input] = {}
    for spec in metadata.inputs:
        kind = input_kind(spec)
        if is_latent(metadata):
            found[spec.name] = Latent(spec, samples, changed)
        elif kind == "picture":
            found[spec.name] = Picture(site, metadata, spec, samples, changed)
        elif kind == "text":
            found[spec.name] = Text(spec, samples, changed)
        elif kind == "sliders":
            found[spec.name] = Sliders(spec, samples, changed)
        else:
            found[spec.name] = File(site, spec, samples, changed)
    return found


def _range(examples: np.ndarray | None, spec: TensorSpec, count: int) -> tuple[list[float], list[float]]:
    if examples is not None and examples.dtype.kind in "fiub":
        flat = examples.reshape(len(examples), -1).astype(np.float64)
        low, high = flat.min(axis=0), flat.max(axis=0)
        margin = np.maximum((high - low) / 2, 1.0 if spec.dtype.startswith(("INT", "UINT")) else 0.5)
        low, high = low - margin, high + margin
    else:
        low, high = np.full(count, -3.0), np.full(count, 3.0)
    if spec.dtype == "BOOL":
        low, high = np.zeros(count), np.ones(count)
    if spec.dtype.startswith("UINT"):
        low = np.maximum(low, 0)
    if spec.dtype.startswith(("INT", "UINT")):
        low, high = np.floor(low), np.ceil(high)
    return low.tolist(), high.tolist()
