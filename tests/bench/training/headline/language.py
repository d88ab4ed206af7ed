"""The language model: nats per held-out character, and a text that it wrote."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tests.bench.training.headline.judgement import Judgement, Table, metric_named
from training.characters import bits_per_character, windows
from training.checkpoints.checkpoint import Checkpoint
from training.data.text import Text
from training.predict import torch_predict
from training.recipe import Metric, Predict

CONTEXTS = (64, 256, 1024)
JUDGED = 256
"""Characters of a window of the recipe's score."""
WRITTEN = 400
SEED = 1997


def judge_language(checkpoint: Checkpoint, folder: Path) -> Judgement:
    """The recipe's own score in nats, the same with other windows, and a sample."""
    recipe, data = checkpoint.recipe, checkpoint.data
    assert isinstance(data, Text)
    predict = torch_predict(recipe.served(checkpoint.trained, data)[0])
    bits = metric_named("bits per character", recipe.score(predict, data)).value
    rows = tuple(
        (f"{length:,}", f"{_bits(predict, data, length) * math.log(2):.4f}")
        for length in CONTEXTS
        if length < len(data.held_out)
    )
    return Judgement(
        metrics=(
            Metric("nats per character", bits * math.log(2), higher_is_better=False),
            Metric("bits per character", bits, higher_is_better=False),
        ),
        how=(
            f"Mean negative log-likelihood of the {len(data.held_out):,} characters at the text's end (a tenth of it), "
            f"of which no training window holds any. They are cut into windows of {JUDGED}, each begun with an empty "
            f"state: a character is predicted from the 1 to {JUDGED} before it in its window, never from all of the "
            "text. What fills no window at the end is left out. It is the recipe's score in bits times ln 2. With "
            "longer windows fewer characters have little context:"
        ),
        tables=(Table("Nats per character by window", ("window", "nats per character"), rows),),
        text=write(predict, data, WRITTEN),
    )


def _bits(predict: Predict, data: Text, length: int) -> float:
    pieces = windows(data.held_out, length)
    probabilities = predict({"tokens": np.ascontiguousarray(pieces[:, :-1])})["probabilities"]
    return bits_per_character(probabilities, pieces[:, 1:]).value


def write(predict: Predict, data: Text, count: int) -> str:
    """`count` characters drawn from the model's probabilities as they are, after a line break, by a fixed seed."""
    random = np.random.default_rng(SEED)
    first = data.vocabulary.index("\n") if "\n" in data.vocabulary else 0
    tokens = [first]
    for _ in range(count):
        context = np.array([tokens[-JUDGED:]], np.int64)
        probabilities = predict({"tokens": context})["probabilities"][0, -1].astype(np.float64)
        tokens.append(int(random.choice(len(probabilities), p=probabilities / probabilities.sum())))
    return "".join(data.vocabulary[token] for token in tokens[1:])
