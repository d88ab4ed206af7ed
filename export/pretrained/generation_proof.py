"""Texts written by a file, token by token, against transformers' own `generate`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from clients.generation import PAST, Arrays, Generation, empty_row, filled_up, greedy
from conch.contracts.errors import ConchError
from training.predict import slow_path
from training.score import Predict
from training.served import Served

LENGTH = 24
"""New tokens of each text."""
ROWS = 8
CLOSE = 1e-4
"""Of the largest logit's size: where the two likeliest tokens are closer, either is right."""


@dataclass(frozen=True)
class Generating:
    """What a step writes, and on what it is proven."""

    generation: Generation
    prompts: Sequence[np.ndarray]
    """Tokens of each text: a prompt, or the source of what is written."""
    read: Callable[[Arrays], Arrays] | None = None
    """What the encoder makes of sources, filled up to one length, of a step that has one."""


@dataclass(frozen=True)
class GenerationProof:
    """What holding texts against transformers' own showed."""

    texts: int
    tokens: int
    """Compared, of texts alone and of texts in batches."""
    close: int
    """Texts that part where the likeliest two tokens are equally likely: either is right."""
    failures: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For parity.json."""
        return asdict(self) | {"failures": list(self.failures), "passed": not self.failures}


@dataclass(frozen=True)
class OwnTexts:
    """What transformers writes: tokens of each text, and how far the likeliest was ahead at each, relatively."""

    tokens: Sequence[Sequence[int]]
    ahead: Sequence[Sequence[float]]


def own_texts(model: Any, generating: Generating, where: str) -> OwnTexts:
    """Ask transformers for each text, alone.

    Raises:
        ConchError: it fails, or all of its texts are alike, which would prove nothing.
    """
    tokens, ahead = [], []
    with slow_path(), torch.inference_mode(), warnings.catch_warnings():
        # The proof's texts may be shorter than the model's shortest.
        warnings.filterwarnings("ignore", "Unfeasible length constraints")
        for prompt in generating.prompts:
            given = _prompt(prompt)
            length = _length(generating, prompt)
            try:
                found = model.generate(
                    **{name: torch.from_numpy(np.array(array)[None]) for name, array in given.items()},
                    do_sample=False, num_beams=1, max_new_tokens=length, max_length=None, output_scores=True,
                    return_dict_in_generate=True,
                )  # fmt: skip
            except Exception as error:  # transformers' own code on the user's texts
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                raise ConchError(f"{where}: transformers' generate fails: {reason}") from error
            scores = [score[0].numpy() for score in found.scores]
            tokens.append(found.sequences[0, -len(scores) :].tolist())
            ahead.append([_ahead(score) for score in scores])
    if len({tuple(text) for text in tokens}) < 2:
        raise ConchError(
            f"{where}: transformers writes the same behind all {len(tokens)} texts, which would prove nothing: are the "
            "weights trained? Give other texts, as --texts FILE"
        )
    return OwnTexts(tokens, ahead)


def _prompt(prompt: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"input_ids": prompt, "attention_mask": np.ones_like(prompt)}


def _length(generating: Generating, prompt: np.ndarray) -> int:
    begun = len(generating.generation.start or prompt)
    return max(1, min(LENGTH, (generating.generation.most or 2**31) - begun))


def _ahead(scores: np.ndarray) -> float:
    """By how much the likeliest leads, of the largest finite score; infinity where it is the only one."""
    finite = scores[np.isfinite(scores)]
    if len(finite) < 2:
        return float("inf")
    second, first = np.partition(finite, -2)[-2:]
    return float((first - second) / max(1e-12, np.abs(finite).max()))


def prove_generation(served: Served, generating: Generating, own: OwnTexts, predict: Predict) -> GenerationProof:
    """Write each text alone, and all in batches as they come, with `predict` in the server's place."""
    failures: list[str] = []
    compared, close = 0, 0
    rows = max(1, min(ROWS, served.largest_batch))
    places = range(len(generating.prompts))
    batches = [[place] for place in places]
    batches += [list(places[start : start + rows]) for start in range(0, len(places), rows)] if rows > 1 else []
    for batch in batches:
        way = "alone" if len(batch) == 1 else f"in a batch of {len(batch)}"
        try:
            written = _written(served, generating, batch, predict)
        except Exception as error:  # whatever ONNX Runtime raises
            failures.append(f"text {batch[0] + 1} {way}: the run failed: {' '.join(str(error).split())[:300]}")
            continue
        for place, got in zip(batch, written, strict=True):
            expected = own.tokens[place]
            compared += len(expected)
            if got == list(expected):
                continue
            at = next((n for n, pair in enumerate(zip(got, expected, strict=False)) if pair[0] != pair[1]), len(got))
            if at < len(expected) and own.ahead[place][at] < CLOSE:
                close += 1
                continue
            failures.append(
                f"text {place + 1} {way}: transformers' own generate has the tokens {list(expected)[at : at + 5]} at "
                f"{at}, the file {got[at : at + 5]}"
            )
    return GenerationProof(len(places), compared, close, tuple(failures))


def _written(served: Served, generating: Generating, batch: Sequence[int], predict: Predict) -> list[list[int]]:
    """What the file writes; each text as long as transformers was asked for."""
    generation = generating.generation
    texts = [generating.prompts[place].tolist() for place in batch]
    inputs = {
        tensor.name: empty_row([size if isinstance(size, int) else -1 for size in tensor.shape], tensor.dtype)
        for tensor in served.inputs
        if tensor.name.startswith(PAST) or tensor.name == "attention_mask"
    }
    if not generating.read:
        return greedy(predict, texts, generation, LENGTH, inputs)
    tokens, mask = filled_up(texts)
    read = generating.read({"input_ids": tokens, "attention_mask": mask})
    return greedy(predict, [generation.start] * len(texts), generation, LENGTH, inputs, read=read)
