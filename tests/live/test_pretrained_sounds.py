"""A transformers folder of a sound classifier, exported, served, and called with WAV files."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.__main__ import main as call
from export.commands.pretrained import main as export_pretrained
from export.pretrained.sounds import made_sounds
from serving.server.server import Server
from tests.support.pretrained_folders import HEARERS, make, transformers
from tests.unit.clients.test_sounds import written


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton of a wav2vec2 that takes masks."""
    folder = tmp_path_factory.mktemp("sounds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        words = ["--name", "sounds", "--max-batch", "2", "--exporter", "torchscript"]
        assert export_pretrained([str(make(folder / "wav2vec2", HEARERS["wav2vec2"])), *words]) == 0
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


def test_wav_files_get_transformers_labels(served: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, sounds = served.repository.parent / "wav2vec2", made_sounds(16000, 1.0)[:3]
    paths = [str(tmp_path / f"{place}.wav") for place in range(len(sounds))]
    for path, sound in zip(paths, sounds, strict=True):
        Path(path).write_bytes(written(2, sound=sound).getvalue())
    assert call(["classify", *paths, "--model", "sounds", "--url", served.http, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    for path, sound, answers in zip(paths, sounds, found, strict=True):
        rounded = np.round(sound * 2**15).astype(np.float32) / 2**15
        with torch.inference_mode():
            given = extractor(rounded, sampling_rate=16000, return_tensors="pt")
            expected = model(**given).logits.softmax(-1)[0].tolist()
        assert sorted(answer["index"] for answer in answers) == [0, 1, 2]
        for answer in answers:
            assert answer["sound"] == path
            assert answer["label"] == ("bad", "so so", "good")[answer["index"]]
            assert answer["value"] == pytest.approx(expected[answer["index"]], abs=1e-4)


def test_sound_of_another_rate_is_refused_before_it_is_sent(
    served: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.wav").write_bytes(written(2, rate=44100).getvalue())
    assert call(["classify", str(tmp_path / "x.wav"), "--model", "sounds", "--url", served.http]) != 0
    assert "44100 samples a second, the model takes 16000" in capsys.readouterr().err
