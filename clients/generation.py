"""How the next tokens of a text are chosen: what a model's configuration says of it, and the loop that does it.

The rules are transformers' own logits processors for greedy generation, in their order
(transformers/generation/logits_process.py), on one row of NumPy. The proof of an exported model runs this very loop
with ONNX Runtime in the server's place, so that proof and client cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

KEY = "generation"
"""Of the `parameters` of a model's configuration; its value is JSON."""
PAST, PRESENT, SOURCE = "past_", "present_", "source_"
"""Beginnings of names: what a step gives as `present_X` the next one takes as `past_X`; what an encoder gives as
`source_X` every step takes."""
ENCODER, STEP = "_encoder", "_step"
"""Ends of the names of two models that write one text of another."""

Arrays = Mapping[str, np.ndarray]


class UnknownGeneration(ValueError):
    """A description with a key or a value that is not known here."""


@dataclass(frozen=True)
class Generation:
    """What a client has to know of a language model, beside its tensors."""

    end: tuple[int, ...] = ()
    """Tokens that end a text."""
    most: int | None = None
    """The most tokens of a text, prompt included, that the model has positions for."""
    encoder: str = ""
    """Of a model that writes one text of another: the model that reads the other."""
    step: str = ""
    """Of a model that reads: the one that writes."""
    pair: str = ""
    """Equal in two such models that were exported together."""
    start: tuple[int, ...] = ()
    """What a text begins with that is made of another."""
    minimum: int = 0
    """Tokens before which a text does not end, prompt included."""
    minimum_new: int = 0
    """The same without the prompt."""
    repetition_penalty: float = 1.0
    """What the logits of tokens that were there are divided by; negative ones are multiplied."""
    no_repeat_ngram: int = 0
    """So many tokens in a row do not come twice."""
    forced_first: int | None = None
    """What follows a start of one token."""
    forced_last: tuple[int, ...] = ()
    """What the last token is that there is room for."""
    suppressed: tuple[int, ...] = ()
    """Tokens that never come."""
    suppressed_first: tuple[int, ...] = ()
    """Tokens that do not come first."""

    def as_parameter(self) -> str:
        """What stands in a model's configuration: JSON of what is not as by default."""
        default = Generation()
        said = {name: value for name, value in asdict(self).items() if value != getattr(default, name)}
        return json.dumps(said)

    def choose(self, logits: np.ndarray, text: Sequence[int], prompt: int, room: int) -> int:
        """The next token.

        Args:
            logits: FP32 [vocabulary], as the model gives them.
            text: the tokens so far, at least one.
            prompt: how many of them were given.
            room: how many there may be in the end.
        """
        scores = logits.astype(np.float32)
        if self.repetition_penalty != 1:
            seen = np.unique(np.asarray(text))
            found = scores[seen]
            scores[seen] = np.where(found < 0, found * self.repetition_penalty, found / self.repetition_penalty)
        scores[_repeating(text, self.no_repeat_ngram)] = -np.inf
        if len(text) < self.minimum or len(text) - prompt < self.minimum_new:
            scores[list(self.end)] = -np.inf
        if self.forced_first is not None and len(text) == 1:
            return self.forced_first
        if self.forced_last and len(text) == room - 1:
            return min(self.forced_last)  # of several that are all forced, the first is the likeliest
        scores[list(self.suppressed)] = -np.inf
        first = prompt if prompt > 1 or self.forced_first is None else prompt + 1
        if len(text) == first:
            scores[list(self.suppressed_first)] = -np.inf
        return int(scores.argmax())


def described(parameters: Mapping[str, str]) -> Generation | None:
    """What a model's `parameters` say; None where they say nothing.

    Raises:
        UnknownGeneration: it is no JSON object of the fields of Generation.
    """
    if KEY not in parameters:
        return None
    try:
        said = dict(json.loads(parameters[KEY]))
    except (ValueError, TypeError) as error:
        raise UnknownGeneration(f"{KEY} is {parameters[KEY]!r}, allowed is a JSON object: {error}") from error
    return Generation(**{key: _value(key, value) for key, value in said.items()})


def _value(key: str, value: Any) -> Any:
    default = asdict(Generation())
    if key not in default:
        raise UnknownGeneration(f"{KEY} has {key!r}, allowed are {', '.join(default)}")
    if isinstance(default[key], tuple):
        if isinstance(value, list) and all(type(token) is int for token in value):
            return tuple(value)
        raise UnknownGeneration(f"{KEY} has {key} {value!r}, allowed are tokens, as [2, 3]")
    kinds = (int, float) if isinstance(default[key], float) else (int if default[key] is None else type(default[key]),)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise UnknownGeneration(f"{KEY} has {key} {value!r}, allowed is {kinds[-1].__name__}")
    return value


def greedy(
    run: Callable[[Arrays], Arrays],
    prompts: Sequence[Sequence[int]],
    generation: Generation,
    length: int,
    inputs: Mapping[str, np.ndarray],
    told: Callable[[int], object] = lambda rows: None,
    read: Arrays | None = None,
) -> list[list[int]]:
    """The tokens that follow each prompt, the likeliest each time; a row that has ended is not sent on.

    Args:
        run: one step of the model: `logits` FP32 [rows, vocabulary] of the last token, and what it keeps.
        prompts: tokens of each row, at least one; of any lengths where the model takes a mask, else of one length.
        generation: the model's rules.
        length: the most new tokens.
        inputs: by name, an empty row [1, ...] of each input that the model takes.
        told: called with the number of rows still under way after each step.
        read: what an encoder made of each row's source, which goes with every step.
    """
    texts = [list(prompt) for prompt in prompts]
    room = [min(len(prompt) + length, generation.most or 2**62) for prompt in prompts]
    rows = [row for row, text in enumerate(texts) if len(text) < room[row]]
    given = {name: array[rows] for name, array in (read or {}).items()}
    given |= {name: np.repeat(row, len(rows), 0) for name, row in inputs.items() if name.startswith(PAST)}
    tokens, mask = filled_up([texts[row] for row in rows])
    while rows:
        answers = run(
            {"input_ids": tokens, **given, **({"attention_mask": mask} if "attention_mask" in inputs else {})}
        )
        for row, logits in zip(rows, answers["logits"], strict=True):
            texts[row].append(generation.choose(logits, texts[row], len(prompts[row]), room[row]))
        going = [
            n for n, row in enumerate(rows) if texts[row][-1] not in generation.end and len(texts[row]) < room[row]
        ]
        rows = [rows[n] for n in going]
        kept = {name.replace(PRESENT, PAST, 1): a for name, a in answers.items() if name.startswith(PRESENT)}
        given = {name: array[going] for name, array in (given | kept).items()}
        tokens = np.array([texts[row][-1:] for row in rows], np.int64)
        mask = np.ones_like(tokens)
        told(len(rows))
    return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]


def filled_up(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as one array of tokens, filled up behind, and the mask of those that count: INT64 [rows, longest] both."""
    width = max(map(len, texts), default=0)
    tokens = np.array([[*text, *[0] * (width - len(text))] for text in texts], np.int64)
    mask = np.array([[1] * len(text) + [0] * (width - len(text)) for text in texts], np.int64)
    return tokens, mask


def empty_row(shape: Sequence[int], dtype: str) -> np.ndarray:
    """A row [1, ...] of zeros of an input [batch, ...] that keeps what came before: its open axis has one place, which
    its mask leaves out, for a tensor of length 0 is refused by servers."""
    return np.zeros([1, *(max(size, 1) for size in shape[1:])], dtype)


def _repeating(text: Sequence[int], size: int) -> list[int]:
    """What would end a run of `size` tokens that was there before."""
    if size < 1 or len(text) + 1 < size:
        return []
    last = list(text[len(text) - size + 1 :])
    return [text[n + size - 1] for n in range(len(text) - size + 1) if list(text[n : n + size - 1]) == last]
