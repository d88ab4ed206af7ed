"""Texts written by a served language model: its tokens in, further tokens out, what it keeps handed back each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from clients.client import Client
from clients.errors import ClientError, UnknownModel, WrongKind
from clients.generation import (
    KEY,
    PAST,
    STEP,
    Arrays,
    Generation,
    UnknownGeneration,
    described,
    empty_row,
    filled_up,
    greedy,
)
from clients.signature import Metadata
from clients.tensors import numpy_type


class Writer:
    """A served model that writes: one of `conch export pretrained`, or the two that it makes of an encoder-decoder.

    ```python
    with connect() as client:
        (added,) = Writer(client, "writer").write([tokens], length=50)
    ```

    Of two models it takes the name that they were exported by, or that of either.

    Raises WrongKind when `model` is not of its form, or is one of two that were not exported together, and whatever
    `Client` raises.
    """

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._metadata = _writing(client, model)
        self._model = self._metadata.name
        self.generation = _generation(self._metadata)
        self._reader = self.generation.encoder
        self._readable, rows = self.generation.most, [self._metadata.max_batch_size]
        if self._reader:
            reader = client.metadata(self._reader)
            self._readable = _read_by(reader, self.generation, self._model).most
            rows.append(reader.max_batch_size)
        self._rows = max(1, min(rows))

    def write(
        self,
        texts: Sequence[Sequence[int]],
        length: int = 50,
        told: Callable[[int], object] = lambda rows: None,
    ) -> list[list[int]]:
        """The tokens that follow each text, or that are made of it, the likeliest each time.

        Args:
            texts: tokens of each, at least one; of any lengths, they are filled up and masked.
            length: the most new tokens of a text.
            told: called with the number of texts still under way after each step.

        Raises:
            ClientError: A text without tokens, or one as long as the model has positions for.
        """
        if length < 1:
            raise ClientError(f"a text is continued by {length} tokens; it must be 1 or more")
        for number, text in enumerate(texts, 1):
            if not len(text):
                raise ClientError(f"text {number} has no tokens; the model needs one to go on from")
            most = self._readable
            if most and len(text) >= most + bool(self._reader):
                model = self._reader or self._model
                raise ClientError(f"text {number} has {len(text)} tokens, {model} has room for {most} in all")
        parts = [texts[start : start + self._rows] for start in range(0, len(texts), self._rows)]
        return [written for part in parts for written in self._written(part, length, told)]

    def _written(self, texts: Sequence[Sequence[int]], length: int, told: Callable[[int], object]) -> list[list[int]]:
        inputs = {
            spec.name: empty_row(spec.shape, numpy_type(spec.dtype))
            for spec in self._metadata.inputs
            if spec.name.startswith(PAST) or spec.name == "attention_mask"
        }
        run = partial(self._client.infer, self._model)
        if not self._reader:
            return greedy(run, texts, self.generation, length, inputs, told)
        starts = [self.generation.start] * len(texts)
        return greedy(run, starts, self.generation, length, inputs, told, self._read(texts))

    def _read(self, texts: Sequence[Sequence[int]]) -> Arrays:
        tokens, mask = filled_up(texts)
        return self._client.infer(self._reader, {"input_ids": tokens, "attention_mask": mask})


def _writing(client: Client, model: str) -> Metadata:
    """The model that writes, which `model` names, or its half, or the name that both halves begin with."""
    try:
        found = client.metadata(model)
    except UnknownModel:
        try:
            return client.metadata(f"{model}{STEP}")
        except UnknownModel:
            pass
        raise  # of the name that was asked for
    step = _described(found).step
    return client.metadata(step) if step else found


def _read_by(reader: Metadata, generation: Generation, model: str) -> Generation:
    found = _described(reader)
    if found.pair != generation.pair or found.step != model:
        raise WrongKind(
            f"{model} and {reader.name} were not exported together, so that texts would be wrong; export both again"
        )
    return found


def _generation(metadata: Metadata) -> Generation:
    if KEY not in metadata.parameters or "input_ids" not in metadata.specs or "logits" not in metadata.everything:
        raise WrongKind(
            f"{metadata.name}: its configuration says nothing of writing texts; that of a model of conch export "
            "pretrained does, of the tasks text-generation and text2text-generation"
        )
    return _described(metadata)


def _described(metadata: Metadata) -> Generation:
    try:
        return described(metadata.parameters) or Generation()
    except UnknownGeneration as error:
        raise WrongKind(f"{metadata.name}: {error}") from error
