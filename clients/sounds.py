"""Sounds in: WAV files to the samples that a model takes."""

import wave
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clients.errors import UnreadableInput, WrongKind
from clients.signature import Metadata

RATE = "audio_sampling_rate"
"""Of a model's parameters: how many samples a second its waveform has."""


def sampling_rate(metadata: Metadata) -> int:
    """How many samples a second the model's waveform has. Raises WrongKind for a model that takes no sounds."""
    rate = metadata.parameters.get(RATE, "")
    if not rate.isdecimal() or int(rate) < 1:
        raise WrongKind(f"{metadata.name} does not say how many samples a second it takes ({RATE} in its config.pbtxt)")
    return int(rate)


def sound_inputs(metadata: Metadata, samples: np.ndarray) -> dict[str, np.ndarray]:
    """A sound float32 [samples] as a request of one row; where the model has a mask, all of it counts.

    Raises WrongKind for a model without one input FP32 [batch, any].
    """
    found = [spec for spec in metadata.inputs if spec.dtype == "FP32" and len(spec.shape) == 2]
    if len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in metadata.inputs)
        raise WrongKind(f"{metadata.name}: needs one input FP32 [batch, any], it has: {has}")
    masks = [spec.name for spec in metadata.inputs if spec.name == "attention_mask" and spec.dtype == "INT64"]
    return {found[0].name: samples[np.newaxis]} | {name: np.ones((1, samples.size), np.int64) for name in masks}


def read_wav(file: Path | BinaryIO, rate: int) -> np.ndarray:
    """The samples of a WAV file of PCM, float32 [samples] from -1 to 1, its channels averaged.

    Nothing is resampled: that takes a filter, which a program for sounds has.

    Raises UnreadableInput for another format or rate, and for a file without samples.
    """
    try:
        with wave.open(str(file) if isinstance(file, Path) else file, "rb") as opened:
            channels, width, has = opened.getnchannels(), opened.getsampwidth(), opened.getframerate()
            data = opened.readframes(opened.getnframes())
    except FileNotFoundError as error:
        raise UnreadableInput(f"no such file: {file}") from error
    except (wave.Error, EOFError, OSError) as error:
        raise UnreadableInput(
            f"{file} is no WAV file of PCM samples ({error}); convert it: ffmpeg -i FILE -ac 1 -ar {rate} "
            "-c:a pcm_s16le sound.wav"
        ) from error
    if has != rate:
        raise UnreadableInput(
            f"{file} has {has} samples a second, the model takes {rate}: ffmpeg -i FILE -ar {rate} sound.wav"
        )
    whole = data[: len(data) // (width * channels) * width * channels]
    if not whole:
        raise UnreadableInput(f"{file} has no samples")
    return _floats(whole, width).reshape(-1, channels).mean(1, dtype=np.float32)


def _floats(data: bytes, width: int) -> np.ndarray:
    """Little-endian integers of `width` bytes as fractions of the largest; of one byte they are unsigned, 128 is 0."""
    if width == 1:
        return ((np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128).astype(np.float32)
    padded = np.zeros((len(data) // width, 4), np.uint8)
    padded[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
    return (padded.view("<i4")[:, 0] / 2**31).astype(np.float32)
