"""Texts written by a step and a cache that the client keeps: transformers' own, token by token, under every rule."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conch.contracts.errors import ConchError
from export.pretrained.folder import read_folder
from export.pretrained.generation_proof import own_texts, prove_generation
from export.pretrained.generation_settings import generation_settings
from export.pretrained.own_answers import answer_all, prove_own
from export.pretrained.subject import Named, Subject, Tensors, Wrapped
from export.pretrained.tasks import prepare_subjects
from export.pretrained.tokens import clients_tokenizer, load_tokens
from export.pretrained.wanted import Wanted
from tests.support.pretrained_folders import ALL, LAYERED, Made, make, transformers
from training.predict import run_served

TEXTS = "Good.\nWhat a long and tedious afternoon\ndef f(x): return x\nno no no\n"


def prepared(folder: Path, made: Made) -> Subject:
    """The last model that is made of a folder: the step."""
    (folder.parent / "texts").write_text(TEXTS)
    wanted = Wanted("m", 3, folder.parent / "texts")
    _, _, subjects, _ = prepare_subjects(read_folder(make(folder, made), False), made.task, wanted)
    return subjects[-1]


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Subject]:
    """A GPT-2, and the step of a BART."""
    kinds = ("gpt2-writer", "bart-rewriter")
    return {kind: prepared(tmp_path_factory.mktemp("writer") / kind, ALL[kind]) for kind in kinds}


@pytest.fixture
def writer(writers: Mapping[str, Subject]) -> Subject:
    """The GPT-2."""
    return writers["gpt2-writer"]


RULES: tuple[Mapping[str, Any], ...] = (
    {"eos_token_id": list(range(0, 400, 3))},
    {"eos_token_id": list(range(0, 400, 2)), "min_new_tokens": 5},
    {"eos_token_id": list(range(0, 400, 2)), "min_length": 12},
    {"repetition_penalty": 1.7},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 1},
    {"forced_eos_token_id": 3},
    {"bad_words_ids": [[token] for token in range(300)]},
    {"bad_words_ids": [[token] for token in range(300)], "eos_token_id": list(range(200))},
    {"suppress_tokens": list(range(200, 400)), "begin_suppress_tokens": list(range(100))},
)
FOR_A_START: tuple[Mapping[str, Any], ...] = (
    {"decoder_start_token_id": 9},
    {"eos_token_id": list(range(0, 400, 2)), "min_length": 12, "repetition_penalty": 1.7},
    {"forced_bos_token_id": 7},
    {"forced_bos_token_id": 7, "begin_suppress_tokens": list(range(200))},
    {"forced_bos_token_id": 7, "no_repeat_ngram_size": 3, "min_length": 56, "forced_eos_token_id": 3, "num_beams": 4,
     "early_stopping": True, "length_penalty": 2.0},
)  # fmt: skip
"""Of texts that begin with a token of the model's choice."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rules"),
    [("gpt2-writer", rules) for rules in RULES] + [("bart-rewriter", rules) for rules in FOR_A_START],
    ids=lambda said: said if isinstance(said, str) else "-".join(said),
)
def test_every_rule_is_followed_as_transformers_follows_it(
    kind: str, rules: Mapping[str, Any], writers: Mapping[str, Subject]
) -> None:
    writer = writers[kind]

    def texts_by(changes: Mapping[str, Any]) -> tuple[Any, Any]:
        kept = writer.model.generation_config
        writer.model.generation_config = type(kept)(**{"decoder_start_token_id": 3, "pad_token_id": 0, **changes})
        try:
            encoder = writer.generating.generation.encoder if writer.generating else ""
            generation, _ = generation_settings(writer.model, "f", 64, encoder)
            assert writer.generating is not None
            generating = replace(writer.generating, generation=generation)
            return generating, own_texts(writer.model, generating, "m")
        finally:
            writer.model.generation_config = kept

    generating, own = texts_by(rules)
    proof = prove_generation(writer.served, generating, own, lambda inputs: run_served(writer.served, inputs))
    assert proof.failures == ()
    assert own.tokens != texts_by({})[1].tokens, "the rule changes the texts"


@pytest.mark.slow
def test_a_step_that_counts_positions_by_places_is_found_in_batches_alone(writer: Subject) -> None:
    def by_places(model: Any, given: Tensors) -> Named:
        """As the step, but a row's first token has the position of its place in the batch."""
        given = dict(given)
        mask, before = given["attention_mask"], given["past_mask"]
        whole = torch.cat([before, mask], 1)
        kept, model.forward = (
            model.forward,
            lambda **said: kept(**{**said, "position_ids": torch.arange(whole.shape[1])[None, before.shape[1] :] - 1}),
        )
        try:
            names = [tensor.name for tensor in writer.served.outputs]
            return dict(zip(names, writer.served.module(*given.values()), strict=True))
        finally:
            model.forward = kept

    names = [tensor.name for tensor in writer.served.inputs]
    wrong = replace(writer, served=replace(writer.served, module=Wrapped(writer.model, names, by_places).eval()))
    proof = prove_own(wrong, answer_all(wrong), lambda inputs: run_served(wrong.served, inputs))
    assert proof.alone["logits"] < 1e-4
    assert proof.in_batch["logits"] > 1e-2
    assert all("in a batch" in failure for failure in proof.failures)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forgets", "found_in"), [("source_mask", ("in a batch",)), ("nothing before", ("alone", "in a batch"))]
)
def test_a_step_that_sees_what_is_not_there_is_found(
    forgets: str, found_in: Sequence[str], writers: Mapping[str, Subject]
) -> None:
    """What fills up a source; and the place that stands for nothing, which shifts all positions."""
    writer = writers["bart-rewriter"]
    names, served = [tensor.name for tensor in writer.served.inputs], writer.served.module

    def forgetful(model: Any, given: Tensors) -> Named:
        given = dict(given)
        if forgets == "source_mask":
            given[forgets] = torch.ones_like(given[forgets])
        else:
            given |= {n: torch.cat([t[:, :, :1], t], 2) for n, t in given.items() if n.startswith("past_")}
        return dict(zip((tensor.name for tensor in writer.served.outputs), served(*given.values()), strict=True))

    wrong = replace(writer, served=replace(writer.served, module=Wrapped(writer.model, names, forgetful).eval()))
    proof = prove_own(wrong, answer_all(wrong), lambda inputs: run_served(wrong.served, inputs))
    ways = {"alone": proof.alone["logits"], "in a batch": proof.in_batch["logits"]}
    assert {way for way, difference in ways.items() if difference > 1e-3} == set(found_in)
    assert proof.failures


@pytest.mark.slow
def test_a_text_that_is_read_without_its_mask_is_found_by_what_is_written(writers: Mapping[str, Subject]) -> None:
    """Each half may pass alone: the texts of both together are held against transformers' own."""
    writer = writers["bart-rewriter"]
    assert writer.generating is not None
    read = writer.generating.read
    assert read is not None

    def unmasked(given: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return read({**given, "attention_mask": np.ones_like(given["attention_mask"])})

    generating = replace(writer.generating, read=unmasked)
    own = own_texts(writer.model, generating, "m")
    proof = prove_generation(writer.served, generating, own, lambda inputs: run_served(writer.served, inputs))
    assert proof.failures
    assert all("in a batch" in failure for failure in proof.failures)


@pytest.mark.slow
def test_a_tokenizer_that_clients_would_read_otherwise_is_told(tmp_path: Path) -> None:
    made, texts = ALL["gpt2-writer"], ["Good.", "no no no"]
    folder = make(tmp_path / "gpt2", made)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokens = load_tokens(read_folder(folder, False), model)
    assert clients_tokenizer(folder, tokens, texts) == ()
    assert "there is no tokenizer.json; write it anew" in clients_tokenizer(tmp_path, tokens, texts)[0]
    found = json.loads((folder / "tokenizer.json").read_text())
    found["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(found))
    assert "makes other tokens than transformers of 2 of 2 texts" in clients_tokenizer(folder, tokens, texts)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "settings", "reason"),
    [
        (ALL["gpt2-writer"], {"bad_words_ids": [[5], [5, 6]]}, "asks for bad_words_ids of several tokens, which"),
        (ALL["gpt2-writer"], {"encoder_repetition_penalty": 2.0}, "asks for encoder_repetition_penalty"),
        (Made("BloomForCausalLM", "bytes"), {}, r"cannot be told positions \(position_ids\)"),
        (Made("MambaForCausalLM", "bytes", {"state_size": 4}), {}, "cannot be told positions"),
        (
            ALL["bart-rewriter"],
            {"eos_token_id": 3},
            "decoder_start_token_id is None in config.json and generation_conf",
        ),
        (
            Made("BlenderbotForConditionalGeneration", "bytes", LAYERED),
            {},
            "asks for encoder_no_repeat_ngram_size, which clients do not follow",
        ),
        (
            Made(
                "ProphetNetForConditionalGeneration",
                "bytes",
                base={"hidden_size": 32, "decoder_start_token_id": 0},
                settings=dict.fromkeys(("num_encoder_layers", "num_decoder_layers", "num_encoder_attention_heads"), 1),
            ),
            {},
            "ProphetNetForConditionalGeneration cannot be taken apart into an encoder and a step",
        ),
        (
            Made("Speech2TextForConditionalGeneration", "bytes", {**LAYERED, "max_target_positions": 64}),
            {},
            "Speech2TextForConditionalGeneration does not turn text into text",
        ),
    ],
    ids=("words", "penalty", "bloom", "mamba", "start", "blenderbot", "prophetnet", "speech"),
)
def test_what_clients_cannot_write_is_refused(
    made: Made, settings: Mapping[str, Any], reason: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "folder", made)
    if settings:
        transformers.GenerationConfig(**settings).save_pretrained(folder)
    with pytest.raises(ConchError, match=reason):
        prepare_subjects(read_folder(folder, False), None, Wanted("m", 3))
