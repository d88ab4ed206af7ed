"""Text to text: an encoder that reads a source once and a decoder as a step, two models that a client uses as one.

Places of a decoder are counted from its first token and by no mask, so rows of a batch have as many tokens behind them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clients.generation import ENCODER, KEY, PAST, PRESENT, SOURCE, STEP, Arrays, Generation
from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import sha256_of_file
from export.pretrained.encoder_decoder import (
    LOGITS,
    SOURCE_MASK,
    Halves,
    before_a_step,
    halves_of,
    read,
    read_alone,
    write,
    write_alone,
)
from export.pretrained.folder import Folder
from export.pretrained.generation_proof import Generating
from export.pretrained.generation_settings import generation_settings, start_token
from export.pretrained.offline import load_transformers
from export.pretrained.serving_text import text_subject
from export.pretrained.subject import Subject, Wrapped, padded
from export.pretrained.texts import long_text
from export.pretrained.tokens import Tokens, clients_tokenizer, load_tokens, short_sizes
from export.pretrained.wanted import Wanted
from training.predict import run_served
from training.served import Served
from training.tensors import Tensor

SUFFIXES = ("ForConditionalGeneration", "MarianMTModel")
STEPS, SEEN = 12, 64
"""Texts that the step's logits are held against transformers on, and tokens of each: what comes of a source is large.
All texts are written to their end, of whole sources."""
KEPT, NEW = 3, 2
"""Tokens behind a step and tokens that are new, where it does not begin a text."""
LIMITS = ("max_target_positions", "max_decoder_position_embeddings", "max_position_embeddings", "sliding_window")
"""Of a decoder's configuration: how many tokens it has positions for, or sees all of."""


def rewrite_text(folder: Folder, model: Any, wanted: Wanted) -> tuple[Subject, Subject]:
    """Serve `NAME_encoder` and `NAME_step`: what the decoder looks up in a source; and `logits` float32
    [batch, vocabulary] of the last token, with what the step keeps.

    Raises:
        ConchError: there is no tokenizer, or the model takes something else than text, keeps something else than keys
            and values, or cannot be taken apart.
    """
    where, kind = str(folder.path), type(model).__name__
    known = load_transformers().models.auto.modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    if kind not in known.values():
        raise ConchError(f"{where}: {kind} does not turn text into text by an encoder and a decoder; it is not covered")
    tokens = load_tokens(folder, model, wanted.tokenizer)
    texts, _ = wanted.chosen_texts()
    sources = [item for text in texts if len((item := tokens.item(*text))["input_ids"])]
    halves = _halves(model, sources[0], start_token(model, where), where)
    names = [f"{wanted.name}{half}" for half in (ENCODER, STEP)]
    pair = hashlib.sha256("".join(map(sha256_of_file, folder.weights)).encode()).hexdigest()[:16]
    encoder = _encoder(replace(wanted, name=names[0]), tokens, model, [*sources, tokens.item(long_text())], halves)
    reads = Generation(most=tokens.limit, step=names[1], pair=pair)
    most = min((limit for name in LIMITS if (limit := getattr(model.get_decoder().config, name, None))), default=None)
    writes, told = generation_settings(model, where, most, names[0], pair)
    told += clients_tokenizer(wanted.tokenizer or folder.path, tokens, [text for text, *_ in texts])
    step = _step(replace(wanted, name=names[1]), tokens, model, sources, halves)
    generating = Generating(
        writes, [source["input_ids"] for source in sources], lambda given: run_served(encoder.served, given)
    )
    return (
        replace(encoder, parameters={KEY: reads.as_parameter()}),
        replace(step, parameters={KEY: writes.as_parameter()}, generating=generating, told=told),
    )


def _halves(model: Any, source: Arrays, start: int, where: str) -> Halves:
    """Both of them, each run once."""
    try:
        halves = halves_of(model, source, start, where)
        given = before_a_step(model, source, [start], halves) | {"input_ids": np.array([start])}
        with torch.inference_mode():
            write(model, {name: torch.from_numpy(array[None]) for name, array in given.items()}, halves)
    except ConchError:
        raise
    except Exception as error:  # whatever transformers' own code raises where it is called otherwise than it expects
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConchError(
            f"{where}: {type(model).__name__} cannot be taken apart into an encoder and a step, it is not covered: "
            f"{reason}"
        ) from error
    return halves


def _encoder(wanted: Wanted, tokens: Tokens, model: Any, items: Sequence[Arrays], halves: Halves) -> Subject:
    subject = text_subject(
        wanted, tokens, model, items, lambda m, given: read(m, given, halves),
        lambda m, given: read_alone(m, given, halves),
        outputs=(Tensor(SOURCE_MASK, "int64", ("batch", "sequence")), *halves.source.tensors(SOURCE, "sequence")),
        same=lambda one, other: all(np.allclose(one[name], other[name], 1e-2, 1e-2) for name in other),
    )  # fmt: skip
    served = replace(subject.served, sizes={"sequence": short_sizes(items[:-1], cuttable=True)})
    return replace(subject, served=served, kept=(SOURCE_MASK,))


def _step(wanted: Wanted, tokens: Tokens, model: Any, sources: Sequence[Arrays], halves: Halves) -> Subject:
    source = halves.source
    few = sources[:: -(-len(sources) // STEPS)]
    chosen = [{name: array[:SEEN] for name, array in item.items()} for item in few]
    texts = [[halves.start, *np.resize(item["input_ids"], KEPT + NEW - 1).tolist()] for item in chosen]
    begun, under_way = (
        [
            {"input_ids": np.array(text[kept:to]), **before_a_step(model, item, text[:kept], halves)}
            for item, text in zip(chosen, texts, strict=True)
        ]
        for kept, to in ((0, 1), (KEPT, KEPT + NEW))
    )
    padding = {SOURCE_MASK: 0.0} | dict.fromkeys(source.names(SOURCE), source.high)
    axes = dict.fromkeys(source.names(SOURCE), -2)
    inputs = (
        Tensor("input_ids", "int64", ("batch", "sequence"), 0, tokens.vocabulary - 1),
        Tensor(SOURCE_MASK, "int64", ("batch", "source"), 0, 1),
        *source.tensors(SOURCE, "source"),
        *halves.kept.tensors(PAST, "past"),
    )
    longest = max(len(item[SOURCE_MASK]) for item in under_way)
    served = Served(
        name=wanted.name,
        module=Wrapped(model, [tensor.name for tensor in inputs], lambda m, given: write(m, given, halves)).eval(),
        inputs=inputs,
        outputs=(
            Tensor(LOGITS, "float32", ("batch", model.get_output_embeddings().weight.shape[0])),
            *halves.kept.tensors(PRESENT, "total"),
        ),
        examples=padded(under_way, padding, axes),
        largest_batch=wanted.largest_batch,
        sizes={"sequence": (1, NEW), "past": (1, 1 + KEPT), "source": (min(5, longest), longest)},
    )
    return Subject(
        served, model, lambda m, given: write_alone(m, given, halves), [*begun, *under_way],
        same=lambda one, other: bool(one[LOGITS].argmax() == other[LOGITS].argmax()),
        padding=padding, axes=axes, level=("input_ids", halves.kept.names(PAST)[0]),
        kept=tuple(halves.kept.names(PRESENT)),
        source={"inputs": f"{wanted.said_texts}, {len(chosen)} of {len(sources)}"},
    )  # fmt: skip
