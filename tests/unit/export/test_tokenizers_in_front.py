"""What tokenizes in front of a model against transformers' own classes, by the code that the server runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.pretrained import tokenizer_file, tokenizer_proof
from export.pretrained.tokenizer_file import golden_tokens, tokenize_in_front, write_tokenizer
from tests.support.pretrained_folders import POSITIONS
from tests.support.tokenizer_classes import OWN_CLASSES, own_tokens


@pytest.mark.slow
@pytest.mark.parametrize("texts", [600, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", OWN_CLASSES)
def test_a_file_alone_tokenizes_as_the_class(
    kind: str, texts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Special names in a text, texts that are cut, and those of many scripts."""
    monkeypatch.setattr(tokenizer_proof, "TEXTS", texts)
    tokens = own_tokens(kind, tmp_path / "own")
    file = write_tokenizer(tokens, tmp_path)
    proof = tokenizer_proof.prove_tokenizer(tokenize_in_front(file), tokens)
    assert (proof.texts, proof.different, proof.first) == (texts, 0, "")
    assert tokenize_in_front(file)(["word " * 3000, "a"])["attention_mask"].sum(1).tolist()[0] == POSITIONS


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["normalizer"].update(lowercase=False),
        lambda found: found["truncation"].update(max_length=POSITIONS - 1),
        lambda found: found["post_processor"]["special_tokens"]["[SEP]"].update(ids=[1]),
    ],
    ids=["other letters", "another limit", "another end"],
)
def test_a_file_that_tokenizes_otherwise_is_found(
    change: Callable[[dict[str, Any]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_proof, "TEXTS", 400)
    tokens = own_tokens("bert", tmp_path / "own")
    file = write_tokenizer(tokens, tmp_path)
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))
    proof = tokenizer_proof.prove_tokenizer(tokenize_in_front(file), tokens)
    assert 0 < proof.different <= proof.texts
    assert not proof.grid(tokens.names).passed


@pytest.mark.slow
def test_a_token_that_the_model_does_not_have_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both make it of a text: nothing but the model's size tells."""
    monkeypatch.setattr(tokenizer_proof, "TEXTS", 400)
    tokens = replace(own_tokens("added", tmp_path / "own"), vocabulary=400)
    proof = tokenizer_proof.prove_tokenizer(tokenize_in_front(write_tokenizer(tokens, tmp_path)), tokens)
    assert 0 < proof.different < 20, proof.first


@pytest.mark.slow
def test_golden_texts_get_the_same_tokens_alone_and_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_proof, "TEXTS", 800)
    tokens = own_tokens("albert", tmp_path / "own")
    tokenize = tokenize_in_front(write_tokenizer(tokens, tmp_path))
    golden, texts_per_s = golden_tokens(tokens, tokenize)
    assert len(golden["inputs/text"]) > tokenizer_file.GOLDEN_ITEMS // 2
    assert texts_per_s > 0
    for row, text in enumerate(golden["inputs/text"][:, 0]):
        assert np.array_equal(tokenize([str(text)])["input_ids"][0], golden["outputs/input_ids"][row])
