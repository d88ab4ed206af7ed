"""Next-character models: their vocabulary, their probabilities and text sampled from them."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from clients.client import Client
from clients.errors import ClientError, WrongKind, WrongTensor
from clients.signature import TensorSpec


class CharacterModel:
    """A served model that gives, for each prefix of its tokens, the probabilities of the next character.

    Its input is INT64 [batch, time], its output FP32 [batch, time, vocabulary] with one character a label, written as
    in a JSON string (a newline is the two characters \\n). The vocabulary is asked for once.

    Raises WrongKind when `model` is not of this form, and whatever `Client` raises.
    """

    def __init__(self, client: Client, model: str) -> None:
        metadata = client.metadata(model)
        self._client = client
        self._model = model
        self._input = _only(model, metadata.inputs, "input INT64 [batch, time]", "INT64", 2)
        self._output = _only(model, metadata.outputs, "output FP32 [batch, time, vocabulary]", "FP32", 3)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The character of each token.

        The classification extension is the only way to a label file. It labels the first `vocabulary` entries of a
        flattened output, which is all of them for a text of one token.
        """
        tokens = {self._input.name: np.zeros((1, 1), dtype=np.int64)}
        size = self._output.shape[2]
        entries = self._client.classify(self._model, tokens, self._output.name, count=size)[0]
        characters = [""] * len(entries)
        for entry in entries:
            characters[entry.index] = _character(self._model, entry.label)
        return characters

    def encode(self, text: str) -> np.ndarray:
        """INT64 [time]. Raises ClientError naming the characters that are not in the vocabulary."""
        tokens = {character: token for token, character in enumerate(self.vocabulary)}
        if unknown := sorted(set(text) - set(tokens)):
            named = ", ".join(repr(character) for character in unknown)
            raise ClientError(f"{self._model} has never seen: {named}; its vocabulary is {''.join(self.vocabulary)!r}")
        return np.array([tokens[character] for character in text], dtype=np.int64)

    def next_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """FP32 [vocabulary] of what follows INT64 [time], which must not be empty."""
        if len(tokens) == 0:
            raise ClientError("an empty text has no next character; give at least one")
        answer = self._client.infer(self._model, {self._input.name: tokens[None]}, [self._output.name])
        return np.asarray(answer[self._output.name][0, -1])

    def likeliest(self, probabilities: np.ndarray, count: int = 5) -> list[tuple[str, float]]:
        """The `count` likeliest characters and their probabilities, highest first."""
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.vocabulary[token], float(probabilities[token])) for token in order]

    def sample(
        self, text: str, length: int, seed: int = 0, temperature: float = 1.0, context: int = 256
    ) -> Iterator[str]:
        """`length` further characters of `text`, one by one, each from one request with the last `context` of them.

        `temperature` 0 always takes the likeliest, 1 draws from the model's own probabilities, more is wilder.
        """
        draw = np.random.default_rng(seed)
        tokens = list(self.encode(text))
        for _ in range(length):
            probabilities = self.next_probabilities(np.array(tokens[-context:], dtype=np.int64))
            token = choose(probabilities, temperature, draw)
            tokens.append(token)
            yield self.vocabulary[token]


def choose(probabilities: np.ndarray, temperature: float, draw: np.random.Generator) -> int:
    """An index into FP32 [classes], drawn with p ** (1 / temperature), or the likeliest for temperature 0."""
    if temperature == 0:
        return int(probabilities.argmax())
    with np.errstate(divide="ignore"):  # the logarithm of 0 is meant to be -inf
        logits = np.log(probabilities.astype(np.float64))
    with np.errstate(over="ignore"):  # so is the quotient of a tiny temperature
        weights = np.exp((logits - logits.max()) / temperature)
    return int(draw.choice(len(weights), p=weights / weights.sum()))


def _only(model: str, specs: Sequence[TensorSpec], wanted: str, dtype: str, axes: int) -> TensorSpec:
    found = [spec for spec in specs if spec.dtype == dtype and len(spec.shape) == axes]
    if len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in specs)
        raise WrongKind(f"{model}: needs one {wanted}, it has: {has}")
    if axes == 3 and found[0].shape[2] < 1:
        raise WrongTensor(f"{model}: the size of the vocabulary must be fixed, output {found[0].name} is {found[0]}")
    return found[0]


def _character(model: str, label: str) -> str:
    try:
        character = json.loads(f'"{label}"')
    except ValueError:
        character = ""
    if len(character) != 1:
        raise WrongKind(f"{model}: its labels must be one character each as in JSON, but one of them is {label!r}")
    return str(character)
