"""Texts written by a step and a cache that the client keeps: transformers' own, token by token, under every rule."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from tests.support.pretrained_folders import ALL, Made, make, transformers
from training.predict import run_served

TEXTS = "Good.\nWhat a long and tedious afternoon\ndef f(x): return x\nno no no\n"


def prepared(folder: Path, made: Made) -> Subject:
    """The last model that is made of a folder: the step."""
    (folder.parent / "texts").write_text(TEXTS)
    wanted = Wanted("m", 3, folder.parent / "texts")
    _, _, subjects, _ = prepare_subjects(read_folder(make(folder, made), False), made.task, wanted)
    return subjects[-1]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A GPT-2."""
    return prepared(tmp_path_factory.mktemp("writer") / "gpt2", ALL["gpt2-writer"])


RULES: tuple[Mapping[str, Any], ...] = (
    {"eos_token_id": list(range(0, 400, 3))},
    {"eos_token_id": list(range(0, 400, 2)), "min_new_tokens": 5},
    {"eos_token_id": list(range(0, 400, 2)), "min_length": 12},
    {"repetition_penalty": 1.7},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 1},
    {"forced_eos_token_id": 3},
    {"suppress_tokens": list(range(200, 400)), "begin_suppress_tokens": list(range(100))},
)


@pytest.mark.slow
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "-".join(rules))
def test_every_rule_is_followed_as_transformers_follows_it(rules: Mapping[str, Any], writer: Subject) -> None:
    def texts_by(changes: Mapping[str, Any]) -> tuple[Any, Any]:
        kept = writer.model.generation_config
        writer.model.generation_config = type(kept)(**changes)
        try:
            generation, _ = generation_settings(writer.model, "f", 64)
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
        (ALL["gpt2-writer"], {"bad_words_ids": [[5]]}, "asks for bad_words_ids, which clients do not follow"),
        (ALL["gpt2-writer"], {"encoder_repetition_penalty": 2.0}, "asks for encoder_repetition_penalty"),
        (Made("BloomForCausalLM", "bytes"), {}, r"cannot be told positions \(position_ids\)"),
        (Made("MambaForCausalLM", "bytes", {"state_size": 4}), {}, "cannot be told positions"),
    ],
    ids=("words", "penalty", "bloom", "mamba"),
)
def test_what_clients_cannot_write_is_refused(
    made: Made, settings: Mapping[str, Any], reason: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "folder", made)
    if settings:
        transformers.GenerationConfig(**settings).save_pretrained(folder)
    with pytest.raises(ConchError, match=reason):
        prepare_subjects(read_folder(folder, False), None, Wanted("m", 3))
