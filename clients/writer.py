"""Texts written by a served language model: its tokens in, further tokens out, what it keeps handed back each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from clients.client import Client
from clients.errors import ClientError, WrongKind
from clients.generation import PAST, Generation, UnknownGeneration, described, empty_row, greedy
from clients.signature import Metadata
from clients.tensors import numpy_type


class Writer:
    """A served model that writes: one of `conch export pretrained`.

    ```python
    with connect() as client:
        (added,) = Writer(client, "writer").write([tokens], length=50)
    ```

    Raises WrongKind when `model` is not of its form, and whatever `Client` raises.
    """

    def __init__(self, client: Client, model: str) -> None:
        self._client, self._model = client, model
        self._metadata = client.metadata(model)
        self.generation = _generation(self._metadata)

    def write(
        self,
        texts: Sequence[Sequence[int]],
        length: int = 50,
        told: Callable[[int], object] = lambda rows: None,
    ) -> list[list[int]]:
        """The tokens that follow each text, the likeliest each time.

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
            most = self.generation.most
            if most and len(text) >= most:
                raise ClientError(f"text {number} has {len(text)} tokens, {self._model} has room for {most} in all")
        rows = self._metadata.max_batch_size or 1
        parts = [texts[start : start + rows] for start in range(0, len(texts), rows)]
        return [written for part in parts for written in self._written(part, length, told)]

    def _written(self, texts: Sequence[Sequence[int]], length: int, told: Callable[[int], object]) -> list[list[int]]:
        inputs = {
            spec.name: empty_row(spec.shape, numpy_type(spec.dtype))
            for spec in self._metadata.inputs
            if spec.name.startswith(PAST) or spec.name == "attention_mask"
        }
        run = partial(self._client.infer, self._model)
        return greedy(run, texts, self.generation, length, inputs, told)


def _generation(metadata: Metadata) -> Generation:
    try:
        found = described(metadata.parameters)
    except UnknownGeneration as error:
        raise WrongKind(f"{metadata.name}: {error}") from error
    if found is None or "input_ids" not in metadata.specs or "logits" not in metadata.everything:
        raise WrongKind(
            f"{metadata.name}: its configuration says nothing of writing texts; models of conch export pretrained with "
            "the task text-generation does"
        )
    return found
