import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from clients.client import Client
from clients.documents import parse_metadata
from clients.errors import ClientError, WrongKind
from clients.signature import Classification, Metadata
from clients.step import Step
from clients.text import CharacterModel, choose

VOCABULARY = 'a\n"\\ :'


class Repeating(Client):
    """A client of a model after whose character i comes i + 1; counts what it is asked."""

    def __init__(self, labels: list[str] | None = None, output_shape: list[int] | None = None) -> None:
        self.labels = labels or [json.dumps(character)[1:-1] for character in VOCABULARY]
        self.output_shape = output_shape or [-1, -1, len(self.labels)]
        self.longest = self.vocabularies_asked = 0

    def metadata(self, model: str, version: str = "", timeout: float | None = None) -> Metadata:
        tokens = {"name": "tokens", "datatype": "INT64", "shape": [-1, -1]}
        output = {"name": "probabilities", "datatype": "FP32", "shape": self.output_shape}
        return parse_metadata({"name": model, "inputs": [tokens], "outputs": [output]}, {"max_batch_size": 8})

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        version: str = "",
        step: Step | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> dict[str, np.ndarray]:
        self.longest = max(self.longest, inputs["tokens"].shape[1])
        following = (inputs["tokens"] + 1) % len(self.labels)
        return {"probabilities": np.eye(len(self.labels), dtype=np.float32)[following] * 0.9}

    def classify(self, *arguments: Any, **options: Any) -> list[list[Classification]]:
        self.vocabularies_asked += 1
        return [[Classification(index, label, 0.5) for index, label in reversed(list(enumerate(self.labels)))]]


def test_vocabulary_is_read_from_labels_once() -> None:
    client = Repeating()
    model = CharacterModel(client, "lstm")
    assert "".join(model.vocabulary) == VOCABULARY
    assert "".join(model.sample("a", 6)) == '\n"\\ :a'
    assert client.vocabularies_asked == 1


def test_only_the_last_characters_are_sent() -> None:
    client = Repeating()
    assert len(list(CharacterModel(client, "lstm").sample("a", 20, context=4))) == 20
    assert client.longest == 4


def test_unknown_characters_are_named() -> None:
    with pytest.raises(ClientError, match="lstm has never seen: 'x', 'ß'"):
        CharacterModel(Repeating(), "lstm").encode("aßxa")


def test_empty_text_has_no_next_character() -> None:
    model = CharacterModel(Repeating(), "lstm")
    with pytest.raises(ClientError, match="empty text"):
        model.next_probabilities(model.encode(""))


@pytest.mark.parametrize("labels", [["a", "bc"], ["a", ""], ["a", '"']])
def test_label_that_is_no_character_is_refused(labels: list[str]) -> None:
    with pytest.raises(WrongKind, match="one character each"):
        _ = CharacterModel(Repeating(labels), "lstm").vocabulary


def test_model_of_another_kind_is_refused() -> None:
    with pytest.raises(WrongKind, match=r"cnn: needs one output FP32 \[batch, time, vocabulary\]"):
        CharacterModel(Repeating(output_shape=[-1, 10]), "cnn")


def test_likeliest_come_first() -> None:
    model = CharacterModel(Repeating(), "lstm")
    likeliest = model.likeliest(np.array([0.1, 0.5, 0.0, 0.0, 0.4, 0.0], dtype=np.float32), 2)
    assert [character for character, _ in likeliest] == ["\n", " "]
    assert likeliest[0][1] == pytest.approx(0.5)


def test_same_seed_gives_the_same_draw_and_temperature_sharpens() -> None:
    probabilities = np.array([0.6, 0.3, 0.1, 0.0], dtype=np.float32)

    def draws(temperature: float) -> list[int]:
        draw = np.random.default_rng(5)
        return [choose(probabilities, temperature, draw) for _ in range(2000)]

    assert draws(1.0) == draws(1.0)
    assert draws(1.0).count(0) / 2000 == pytest.approx(0.6, abs=0.05)
    assert draws(0.2).count(0) / 2000 > 0.95
    assert set(draws(0)) == {0}
    assert 3 not in draws(5.0)  # what is impossible stays so at any temperature


@pytest.mark.parametrize("temperature", [1e-310, 1e-5])
def test_a_tiny_temperature_takes_the_likeliest(temperature: float) -> None:
    probabilities = np.array([0.2, 0.5, 0.3], np.float32)
    assert choose(probabilities, temperature, np.random.default_rng(0)) == 1
