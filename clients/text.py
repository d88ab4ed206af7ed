"""Next-character models: their vocabulary, their probabilities and text sampled from them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from functools import cached_property

import numpy as np

from clients.client import Client
from clients.errors import ClientError, WrongKind, WrongTensor
from clients.sequence import Sequence
from clients.signature import Classification, TensorSpec


class Characters(ABC):
    """What a served model of characters has, however it is called.

    The output is probabilities with one character a label, written as in a JSON string (a newline is the two characters
    \\n). The vocabulary is asked for once. Raises WrongKind when `model` is not of its form, and whatever `Client`
    raises.
    """

    def __init__(self, client: Client, model: str, input: TensorSpec, output: TensorSpec) -> None:
        if output.shape[-1] < 1:
            raise WrongTensor(f"{model}: the size of the vocabulary must be fixed, output {output.name} is {output}")
        self._client, self._model = client, model
        self._input, self._output = input, output

    @cached_property
    def vocabulary(self) -> list[str]:
        """The character of each token.

        The classification extension is the only way to a label file. It labels the first `vocabulary` entries of a
        flattened output, which is all of them for a text of one token.
        """
        tokens = {self._input.name: np.zeros((1, 1), dtype=np.int64)}
        entries = self._classes(tokens, self._output.shape[-1])
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

    def likeliest(self, probabilities: np.ndarray, count: int = 5) -> list[tuple[str, float]]:
        """The `count` likeliest characters and their probabilities, highest first."""
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.vocabulary[token], float(probabilities[token])) for token in order]

    @abstractmethod
    def next_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """FP32 [vocabulary] of what follows INT64 [time], which must not be empty."""

    @abstractmethod
    def sample(
        self, text: str, length: int, seed: int = 0, temperature: float = 1.0, context: int = 256
    ) -> Generator[str, None, None]:
        """`length` further characters of `text`, one by one."""

    @abstractmethod
    def _classes(self, tokens: Mapping[str, np.ndarray], count: int) -> list[Classification]:
        """The classes of the output for a text of one token."""


class CharacterModel(Characters):
    """A served model that gives, for each prefix of its tokens, the probabilities of the next character.

    Its input is INT64 [batch, time], its output FP32 [batch, time, vocabulary].
    """

    def __init__(self, client: Client, model: str) -> None:
        metadata = client.metadata(model)
        super().__init__(
            client,
            model,
            _only(model, metadata.inputs, "input INT64 [batch, time]", "INT64", 2),
            _only(model, metadata.outputs, "output FP32 [batch, time, vocabulary]", "FP32", 3),
        )

    def next_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """FP32 [vocabulary] of what follows INT64 [time], which must not be empty."""
        refuse_empty(tokens)
        answer = self._client.infer(self._model, {self._input.name: tokens[None]}, [self._output.name])
        return np.asarray(answer[self._output.name][0, -1])

    def sample(
        self, text: str, length: int, seed: int = 0, temperature: float = 1.0, context: int = 256
    ) -> Generator[str, None, None]:
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

    def _classes(self, tokens: Mapping[str, np.ndarray], count: int) -> list[Classification]:
        return self._client.classify(self._model, tokens, self._output.name, count)[0]


class CharacterStream(Characters):
    """A served model that takes a character a request, and keeps what came before as a state on the server.

    Its input is INT64 [batch, 1], its output FP32 [batch, vocabulary].
    """

    def __init__(self, client: Client, model: str) -> None:
        metadata = client.metadata(model)
        if not metadata.stateful:
            raise WrongKind(f"{model}: keeps no state on the server, it takes a whole text each time")
        super().__init__(
            client,
            model,
            _only(model, metadata.inputs, "input INT64 [batch, 1]", "INT64", 2),
            _only(model, metadata.outputs, "output FP32 [batch, vocabulary]", "FP32", 2),
        )

    def next_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """FP32 [vocabulary] of what follows INT64 [time], which must not be empty; a request for each of them."""
        refuse_empty(tokens)
        with self._client.sequence(self._model) as sequence:
            return [self._next(sequence, token, last=n == len(tokens)) for n, token in enumerate(tokens, 1)][-1]

    def sample(
        self, text: str, length: int, seed: int = 0, temperature: float = 1.0, context: int = 256
    ) -> Generator[str, None, None]:
        """As `CharacterModel.sample`, with a request for each character that is read or added.

        It reads the last `context` characters of `text` and keeps in mind all that it adds. The draws are the same: so
        is the text, as long as `CharacterModel` is shown all of it.
        """
        tokens = self.encode(text)[-context:]
        refuse_empty(tokens)
        if length == 0:
            return
        draw = np.random.default_rng(seed)
        with self._client.sequence(self._model) as sequence:
            for token in tokens[:-1]:
                self._next(sequence, token)
            token = tokens[-1]
            for left in range(length, 0, -1):
                token = choose(self._next(sequence, token, last=left == 1), temperature, draw)
                yield self.vocabulary[token]

    def _next(self, sequence: Sequence, token: int, last: bool = False) -> np.ndarray:
        inputs = {self._input.name: np.array([[token]], dtype=np.int64)}
        return np.asarray(sequence.infer(inputs, [self._output.name], last)[self._output.name][0])

    def _classes(self, tokens: Mapping[str, np.ndarray], count: int) -> list[Classification]:
        return self._client.sequence(self._model).classify(tokens, self._output.name, count, last=True)


def refuse_empty(tokens: np.ndarray) -> None:
    """Raises ClientError where there is nothing to continue."""
    if len(tokens) == 0:
        raise ClientError("an empty text has no next character; give at least one")


def choose(probabilities: np.ndarray, temperature: float, draw: np.random.Generator) -> int:
    """An index into FP32 [classes], drawn with p ** (1 / temperature), or the likeliest for temperature 0."""
    if temperature == 0:
        return int(probabilities.argmax())
    with np.errstate(divide="ignore"):  # the logarithm of 0 is meant to be -inf
        logits = np.log(probabilities.astype(np.float64))
    with np.errstate(over="ignore"):  # so is the quotient of a tiny temperature
        weights = np.exp((logits - logits.max()) / temperature)
    return int(draw.choice(len(weights), p=weights / weights.sum()))


def _only(model: str, specs: tuple[TensorSpec, ...], wanted: str, dtype: str, axes: int) -> TensorSpec:
    found = [spec for spec in specs if spec.dtype == dtype and len(spec.shape) == axes]
    if len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in specs)
        raise WrongKind(f"{model}: needs one {wanted}, it has: {has}")
    return found[0]


def _character(model: str, label: str) -> str:
    try:
        character = json.loads(f'"{label}"')
    except ValueError:
        character = ""
    if len(character) != 1:
        raise WrongKind(f"{model}: its labels must be one character each as in JSON, but one of them is {label!r}")
    return str(character)
