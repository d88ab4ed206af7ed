"""Models that write: token by token in the server, as a translation or a caption; token 0 ends a row and fills it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clients.client import Client
from clients.errors import ClientError, WrongKind
from clients.signature import Metadata, TensorSpec

END = 0
WRITES = "INT64 [batch, n] and FP32 [batch, n, vocabulary], and nothing else, out"


@dataclass(frozen=True)
class Written:
    """What a model wrote of one item."""

    labels: tuple[str, ...]
    """Of its tokens, without the one that ends them."""
    probability: float
    """That the model gives to just these tokens and the end behind them."""


def outputs_that_write(metadata: Metadata) -> tuple[TensorSpec, TensorSpec]:
    """The tokens that a model writes, and the probabilities that it chose them by. Raises WrongKind."""
    probabilities = [spec for spec in metadata.outputs if spec.dtype == "FP32" and len(spec.shape) == 3]
    tokens = [spec for spec in metadata.outputs if spec.dtype == "INT64" and len(spec.shape) == 2]
    # A detector gives boxes and classes of such shapes, and more beside them.
    alone = len(probabilities) == len(tokens) == 1 and len(metadata.outputs) == 2
    if not alone or tokens[0].shape[1] != probabilities[0].shape[1]:
        has = ", ".join(f"{spec.name} {spec}" for spec in metadata.outputs)
        raise WrongKind(f"{metadata.name}: needs {WRITES}, it has: {has}")
    return tokens[0], probabilities[0]


def text_input(metadata: Metadata) -> TensorSpec:
    """The input of a model that writes what it makes of a text. Raises WrongKind."""
    outputs_that_write(metadata)
    found = metadata.inputs
    if len(found) != 1 or found[0].dtype != "INT64" or len(found[0].shape) != 2:
        has = ", ".join(f"{spec.name} {spec}" for spec in found)
        raise WrongKind(f"{metadata.name}: needs one input INT64 [batch, time] and no other, it has: {has}")
    return found[0]


class Writer:
    """A served model that writes. Raises WrongKind when it is none, and whatever `Client` raises."""

    def __init__(self, client: Client, model: str) -> None:
        self.model = model
        self._client = client
        self._tokens, self._probabilities = outputs_that_write(client.metadata(model))
        self._labels: list[str] = []

    def labels(self, inputs: Mapping[str, np.ndarray]) -> list[str]:
        """Of each token, from the model's label file; asked for once, with the first row of `inputs`.

        The classification extension is the only way to a label file. It labels the first `vocabulary` entries of a
        flattened output.
        """
        if not self._labels:
            most, vocabulary = self._probabilities.shape[1:]
            one = {name: array[:1] for name, array in inputs.items()}
            (entries,) = self._client.classify(self.model, one, self._probabilities.name, most * vocabulary)
            found = {entry.index: entry.label for entry in entries}
            self._labels = [found.get(token, "") for token in range(vocabulary)]
            if not all(self._labels):
                raise WrongKind(f"{self.model}: its labels file has no label for some of its {vocabulary} tokens")
        return self._labels

    def write(self, inputs: Mapping[str, np.ndarray]) -> list[Written]:
        """What the model writes of each row of `inputs`."""
        answers, labels = self._answers(inputs), self.labels(inputs)
        return [read(*row, labels) for row in zip(*answers, strict=True)]

    def _answers(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens INT64 [rows, n] and their probabilities FP32 [rows, n, vocabulary]."""
        answers = self._client.infer(self.model, inputs, [self._tokens.name, self._probabilities.name])
        return answers[self._tokens.name], answers[self._probabilities.name]


def read(tokens: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> Written:
    """INT64 [n] with FP32 [n, vocabulary] up to the end."""
    ends = np.flatnonzero(tokens == END)
    length = int(ends[0]) if len(ends) else len(tokens)
    chosen = tokens[: length + 1]  # the end was chosen as well
    probability = np.prod(probabilities[np.arange(len(chosen)), chosen], dtype=np.float64)
    return Written(tuple(labels[token] for token in tokens[:length]), float(probability))


class Translator(Writer):
    """A model that writes one text of another, both in the characters of its labels, written as in a JSON string."""

    def __init__(self, client: Client, model: str) -> None:
        super().__init__(client, model)
        self._input = text_input(client.metadata(model))

    @cached_property
    def characters(self) -> list[str]:
        """The character of each token."""
        labels = self.labels({self._input.name: np.zeros((1, 1), np.int64)})
        try:
            found = [str(json.loads(f'"{label}"')) for label in labels]
        except ValueError:
            found = [""]
        if not all(len(character) == 1 for character in found):
            raise WrongKind(f"{self.model}: its labels must be one character each as in JSON")
        return found

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """INT64 [texts, characters of the longest]. Raises ClientError for an empty text and an unknown character."""
        known = {character: token for token, character in enumerate(self.characters) if token != END}
        if not all(texts):
            raise ClientError("an empty text has no translation; give at least one character")
        if unknown := sorted({character for text in texts for character in text} - set(known)):
            named = ", ".join(map(repr, unknown))
            raise ClientError(f"{self.model} has never seen: {named}; it knows {''.join(known)!r}")
        rows = np.full((len(texts), max(map(len, texts))), END, np.int64)
        for row, text in zip(rows, texts, strict=True):
            row[: len(text)] = [known[character] for character in text]
        return rows

    def translate(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Each text's translation and its probability; the whole decoding is the server's, in one request."""
        answers = self._answers({self._input.name: self.encode(texts)})
        return [said(read(*row, self.characters)) for row in zip(*answers, strict=True)]

    def translate_stepwise(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The same, decoded here: one request to `MODEL_encoder`, and one to `MODEL_step` for each character."""
        tokens = self.encode(texts)
        found = self._client.infer(f"{self.model}_encoder", {"tokens": tokens})
        inputs = {"tokens": tokens, "memory": found["memory"], "state": found["first_state"]}
        token, alive = np.full((len(texts), 1), END, np.int64), np.ones((len(texts), 1), bool)
        written, chances = [], []
        for _ in range(self._tokens.shape[1]):
            step = self._client.infer(f"{self.model}_step", inputs | {"token": token})
            token = np.where(alive, step["probabilities"].argmax(1)[:, np.newaxis], END)
            inputs["state"], alive = step["next_state"], alive & (token != END)
            written.append(token)
            chances.append(step["probabilities"])
            if not alive.any():
                break
        rows = np.concatenate(written, 1), np.stack(chances, 1)
        return [said(read(*row, self.characters)) for row in zip(*rows, strict=True)]


def said(written: Written) -> tuple[str, float]:
    """What characters make, and its probability."""
    return "".join(written.labels), written.probability
