"""WAV files as a model's samples."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from clients.errors import UnreadableInput, WrongKind
from clients.signature import Metadata, TensorSpec
from clients.sounds import read_wav, sampling_rate, sound_inputs

SOUND = np.round(np.sin(np.arange(500) / 9) * 100) / 128
"""Fractions that each width can write."""


def written(width: int, channels: int = 1, rate: int = 16000, sound: np.ndarray = SOUND) -> io.BytesIO:
    """A WAV file, the second channel silent."""
    scaled = np.round(sound * 2 ** (8 * width - 1)).astype("<i4")
    data = (scaled + 128).astype(np.uint8)[:, None] if width == 1 else scaled.view(np.uint8).reshape(-1, 4)[:, :width]
    frames = np.zeros((len(sound), channels, width), np.uint8)
    frames[:, 0] = data
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(frames.tobytes())
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_each_width_are_fractions(width: int) -> None:
    found = read_wav(written(width), 16000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, SOUND, atol=1e-7)


def test_channels_are_averaged() -> None:
    np.testing.assert_allclose(read_wav(written(2, channels=2), 16000), SOUND / 2, atol=1e-7)


def test_another_rate_format_or_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="has 8000 samples a second, the model takes 16000"):
        read_wav(written(2, rate=8000), 16000)
    with pytest.raises(UnreadableInput, match="no samples"):
        read_wav(written(2, sound=SOUND[:0]), 16000)
    (tmp_path / "x.wav").write_bytes(b"OggS and more")
    with pytest.raises(UnreadableInput, match=r"x\.wav is no WAV file of PCM"):
        read_wav(tmp_path / "x.wav", 16000)
    with pytest.raises(UnreadableInput, match="no such file"):
        read_wav(tmp_path / "y.wav", 16000)


def test_a_request_has_a_mask_where_the_model_takes_one() -> None:
    wave_spec = TensorSpec("waveform", "FP32", (-1, -1), batched=True)
    mask = TensorSpec("attention_mask", "INT64", (-1, -1), batched=True)
    takes = Metadata("m", ("1",), "", (wave_spec, mask), (), 8, parameters={"audio_sampling_rate": "16000"})
    assert sampling_rate(takes) == 16000
    inputs = sound_inputs(takes, np.zeros(7, np.float32))
    assert {name: (array.shape, array.dtype.name) for name, array in inputs.items()} == {
        "waveform": ((1, 7), "float32"),
        "attention_mask": ((1, 7), "int64"),
    }
    alone = Metadata("m", ("1",), "", (wave_spec,), (), 8)
    assert set(sound_inputs(alone, np.zeros(7, np.float32))) == {"waveform"}
    with pytest.raises(WrongKind, match="audio_sampling_rate in its config"):
        sampling_rate(alone)
