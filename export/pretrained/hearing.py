"""Tasks of one sound: classification, and the vectors of a speech encoder.

Models of the wave (wav2vec2, HuBERT, WavLM) take it raw: what their feature extractor does, bringing it to mean 0 and
variance 1, is in the graph. Models of a spectrogram (AST, Whisper) take it as their feature extractor gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.pretrained.folder import Folder
from export.pretrained.sounds import load_extractor, made_sounds
from export.pretrained.subject import Arrays, Named, Subject, Tensors, Wrapped, padded
from export.pretrained.wanted import Wanted
from training.served import Served
from training.tensors import Tensor

WAVE, MASK = "waveform", "attention_mask"
RATE = "audio_sampling_rate"
"""The key in the configuration by which a client knows that `waveform` is samples of a sound, and how many a second."""
LONGEST_WAVE_S, LONGEST_SPECTROGRAM_S = 1.5, 40.0
"""Of the proof's sounds: a spectrogram is cut to its length, Whisper's to 30 seconds."""
Answer = Callable[[Any, Tensors], torch.Tensor]


def classify_sounds(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `probabilities` float32 [batch, labels].

    Raises:
        ConchError: there is no feature extractor.
    """
    labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))

    def answer(model: Any, given: Tensors) -> torch.Tensor:
        found: torch.Tensor = model(**given).logits.softmax(-1)
        return found

    return _subject(folder, model, wanted, "probabilities", answer, labels)


def speech_features(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `features` float32 [batch, frames, width], the last vectors of the encoder; those of padding mean nothing.

    Raises:
        ConchError: there is no feature extractor.
    """

    def answer(model: Any, given: Tensors) -> torch.Tensor:
        encoder = model.get_encoder() if model.config.is_encoder_decoder else model
        found: torch.Tensor = encoder(**given).last_hidden_state
        return found

    return _subject(folder, model, wanted, "features", answer)


@dataclass(frozen=True)
class _Listening:
    """How a sound becomes what the model takes."""

    extractor: Any
    masked: bool
    """Whether rows of different length may stand in a batch, of a model of the wave."""

    @property
    def raw(self) -> bool:
        """Whether the model takes the wave, and not a spectrogram."""
        sound = np.ones(self.extractor.sampling_rate, np.float32)
        return self.extracted(sound)[self.extractor.model_input_names[0]].shape == (1, sound.size)

    def extracted(self, sound: np.ndarray) -> dict[str, np.ndarray]:
        """What the extractor makes of a sound [samples], as the model's own arguments, with the batch axis."""
        found = self.extractor(sound, sampling_rate=self.extractor.sampling_rate, return_tensors="np")
        return {name: array for name, array in found.items() if name != MASK or self.masked}


def _subject(
    folder: Folder, model: Any, wanted: Wanted, output: str, answer: Answer, labels: Sequence[str] = ()
) -> Subject:
    extractor = load_extractor(folder)
    # A norm over time takes padding in, whatever the mask says.
    masked = bool(extractor.return_attention_mask) and getattr(model.config, "feat_extract_norm", "") != "group"
    listening = _Listening(extractor, masked)
    sounds = made_sounds(extractor.sampling_rate, LONGEST_WAVE_S if listening.raw else LONGEST_SPECTROGRAM_S)
    if listening.raw:
        if not masked:
            least = min(sound.size for sound in sounds)
            sounds = [sound[:least] for sound in sounds]
        return _of_waves(listening, model, wanted, sounds, output, answer, labels)
    return _of_spectrograms(listening, model, wanted, sounds, output, answer, labels)


def _of_waves(
    listening: _Listening, model: Any, wanted: Wanted, sounds: Sequence[np.ndarray], output: str, answer: Answer,
    labels: Sequence[str],
) -> Subject:  # fmt: skip
    extractor = listening.extractor
    names = (WAVE, MASK) if listening.masked else (WAVE,)
    items = [{WAVE: sound, MASK: np.ones(sound.size, np.int64)} for sound in sounds]
    items = [{name: item[name] for name in names} for item in items]

    def serve(model: Any, given: Tensors) -> Named:
        wave = _normalised(given[WAVE], given.get(MASK)) if getattr(extractor, "do_normalize", False) else given[WAVE]
        masks = {MASK: given[MASK]} if MASK in given else {}
        return {output: answer(model, {"input_values": wave, **masks})}

    def own(model: Any, given: Tensors) -> Named:
        found = listening.extracted(given[WAVE][0].numpy().astype(np.float32))
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        tensors["input_values"] = tensors["input_values"].to(given[WAVE].dtype)
        return {output: answer(model, tensors)}

    padding = {WAVE: 0.0, MASK: 0.0} if listening.masked else {}
    grid = items[:-1] if listening.masked else items
    inputs = [Tensor(WAVE, "float32", ("batch", "samples"), -1, 1), Tensor(MASK, "int64", ("batch", "samples"), 1, 1)]
    lengths = sorted({sound.size for sound in sounds[:-1]})
    ends = (lengths[0], lengths[-1]) if len(lengths) > 1 else (lengths[0] // 2, lengths[0])
    sizes: dict[str, tuple[int, ...]] = {"samples": ends}
    told = "raw, of any lengths" if listening.masked else "raw; sounds of one request are of one length"
    return _made(
        wanted, model, serve, own, items, grid, tuple(inputs[: len(names)]), output, labels, extractor, padding=padding,
        sizes=sizes, told=f"{type(extractor).__name__}: {told}, {extractor.sampling_rate} samples a second",
        parameters={RATE: str(extractor.sampling_rate)},
    )  # fmt: skip


def _normalised(wave: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Waves [batch, samples] of mean 0 and variance 1 where `mask` counts, 0 elsewhere; as Wav2Vec2FeatureExtractor.

    In float64: of a silent wave nothing may be left but 0, which the variance of 0 would blow up.
    """
    counts = torch.ones_like(wave).double() if mask is None else mask.double()
    exact, length = wave.double(), counts.sum(1, keepdim=True)
    centred = (exact - (exact * counts).sum(1, keepdim=True) / length) * counts
    return (centred / ((centred**2).sum(1, keepdim=True) / length + 1e-7).sqrt()).to(wave.dtype)


def _of_spectrograms(
    listening: _Listening, model: Any, wanted: Wanted, sounds: Sequence[np.ndarray], output: str, answer: Answer,
    labels: Sequence[str],
) -> Subject:  # fmt: skip
    extractor = listening.extractor
    name = next(name for name in extractor.model_input_names if name != MASK)
    items = [{name: listening.extracted(sound)[name][0].astype(np.float32)} for sound in sounds]
    shapes = {item[name].shape for item in items}
    if len(shapes) > 1:
        raise ConchError(f"{type(extractor).__name__} gives spectrograms of several lengths: not covered")
    (shape,) = shapes
    low, high = (float(edge([item[name] for item in items])) for edge in (np.min, np.max))

    def serve(model: Any, given: Tensors) -> Named:
        return {output: answer(model, given)}

    return _made(
        wanted, model, serve, serve, items, items, (Tensor(name, "float32", ("batch", *shape), low, high),), output,
        labels, extractor, told=f"{type(extractor).__name__}: spectrograms {[*shape]}, which clients make",
    )  # fmt: skip


def _made(
    wanted: Wanted, model: Any, serve: Callable[[Any, Tensors], Named], own: Callable[[Any, Tensors], Named],
    items: Sequence[Arrays], grid: Sequence[Arrays], inputs: tuple[Tensor, ...], output: str, labels: Sequence[str],
    extractor: Any, told: str, padding: dict[str, float] | None = None,
    sizes: dict[str, tuple[int, ...]] | None = None, parameters: dict[str, str] | None = None,
) -> Subject:  # fmt: skip
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(array[None].copy()) for name, array in items[0].items()}
        width = serve(model, tensors)[output].shape[1:]
    shape: tuple[int | str, ...] = ("frames", *width[1:]) if sizes and len(width) > 1 else tuple(width)
    served = Served(
        name=wanted.name,
        module=Wrapped(model, [tensor.name for tensor in inputs], serve).eval(),
        inputs=inputs,
        outputs=(Tensor(output, "float32", ("batch", *shape)),),
        examples=padded(grid, padding or {}),
        labels={output: tuple(labels)} if labels else {},
        largest_batch=wanted.largest_batch,
        sizes=sizes or {},
    )
    source = {"feature_extractor": type(extractor).__name__, "inputs": f"sounds that the kit makes ({len(items)})"}
    return Subject(
        served, model, own, items, lambda one, other: _alike(one[output], other[output], bool(labels)), padding or {},
        told=(told,), source=source, parameters=parameters or {},
    )  # fmt: skip


def _alike(one: np.ndarray, other: np.ndarray, classes: bool) -> bool:
    """The same class, or vectors that are the same to two digits."""
    if classes:
        return bool(one.argmax() == other.argmax())
    return bool(np.allclose(one, other, 1e-2, 1e-2 * np.abs(other).max()))
