"""A transformers folder, exported by its command, served by a real Triton and called from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clients.__main__ import main as call
from export.commands.pretrained import main as export_pretrained
from serving.server.server import Server
from tests.support.loads import load_everything
from tests.support.pretrained_folders import CLASSIFIERS, REWRITERS, WRITERS, make, tokenizer, transformers

TEXT = "A text that nobody has proven anything on, with 3 numbers and an ü."


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton of classifiers that take text, with byte-level BPE in the graph and WordPiece and Unigram in front of a
    model that takes tokens; of what continues texts, and what rewrites them."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "texts").write_text("Good.\nWhat a long and tedious afternoon\nno no no\nAnd yes?")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder))
        words = ["--max-batch", "4", "--texts", f"{folder}/texts", "--exporter", "torchscript"]  # the quicker one
        for kind in ("roberta", "bert", "albert"):
            made = make(folder / kind, CLASSIFIERS[kind])
            assert export_pretrained([str(made), "--name", f"text_{kind}", "--with-tokenizer", *words]) == 0
        writer = make(folder / "gpt2", WRITERS["gpt2-writer"])
        assert export_pretrained([str(writer), "--name", "writer", *words]) == 0
        rewriter = make(folder / "bart", REWRITERS["bart-rewriter"])
        assert export_pretrained([str(rewriter), "--name", "rewriter", *words]) == 0
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


def test_a_call_answers_as_transformers(served: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = served.repository.parent
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "bert")
    expected = model(**transformers.AutoTokenizer.from_pretrained(folder / "bert")(TEXT, return_tensors="pt"))
    ids = tokenizer("wordpiece").encode(TEXT)
    inputs = {"input_ids": [ids.ids], "attention_mask": [ids.attention_mask], "token_type_ids": [ids.type_ids]}
    (tmp_path / "tokens.json").write_text(json.dumps(inputs))
    answer = tmp_path / "answer.npy"
    words = [
        "infer",
        "text_bert_model",
        "--input",
        str(tmp_path / "tokens.json"),
        "--output",
        f"probabilities={answer}",
    ]
    assert call([*words, "--url", served.http]) == 0, capsys.readouterr().err
    np.testing.assert_allclose(np.load(answer), expected.logits.softmax(-1).detach(), 1e-4, 1e-5)
    assert (served.repository / "text_bert_model" / "labels.txt").read_text().split("\n")[:3] == [
        "bad",
        "so so",
        "good",
    ]


@pytest.mark.parametrize("kind", ["roberta", "bert", "albert"])
def test_text_goes_in_and_a_label_comes_out(
    kind: str, served: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of texts that are cut, of scripts that the vocabulary does not have, and of what looks like a special token."""
    folder, texts = served.repository.parent, [TEXT, "", "long " * 99, "価格 😀 [SEP]"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / kind)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / kind)
    given = [tokenizer(text, return_tensors="pt", truncation=True, split_special_tokens=True) for text in texts]
    expected = [model(**one).logits.softmax(-1)[0].tolist() for one in given]
    (tmp_path / "texts.json").write_text(json.dumps({"text": [[text] for text in texts]}))
    answer = tmp_path / "answer.npy"
    words = ["infer", f"text_{kind}", "--input", str(tmp_path / "texts.json"), "--output", f"probabilities={answer}"]
    assert call([*words, "--url", served.http]) == 0, capsys.readouterr().err
    np.testing.assert_allclose(np.load(answer), expected, 1e-4, 1e-5)
    version = served.repository / f"text_{kind}" / "1"
    parity = json.loads((version / "parity.json").read_text())
    assert parity["tokenizer"] == {"texts": 10_000, "different": 0, "first": "", "passed": True}
    parts = [(served.repository / f"text_{kind}_{part}").exists() for part in ("tokenizer", "model")]
    in_graph = (version / "libortextensions.so").exists()
    assert (in_graph, *parts) == ((True, False, False) if kind == "roberta" else (False, True, True))


def generated(folder: Path, auto: str, text: str, length: int) -> list[int]:
    """What transformers' own generate adds to a text, or makes of it."""
    model = getattr(transformers, auto).from_pretrained(folder)
    given = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    given.pop("token_type_ids", None)
    before = 1 if model.config.is_encoder_decoder else given["input_ids"].shape[1]
    found: list[int] = model.generate(**given, do_sample=False, max_new_tokens=length)[0, before:].tolist()
    return found


@pytest.mark.parametrize(
    ("model", "made", "auto", "shown"),
    [("writer", "gpt2", "AutoModelForCausalLM", True), ("rewriter", "bart", "AutoModelForSeq2SeqLM", False)],
)
def test_texts_are_written_as_transformers_writes_them(
    model: str, made: str, auto: str, shown: bool, served: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts of several lengths together, more of them than a batch has rows, token by token."""
    folder, texts = served.repository.parent / made, [TEXT, "Good.", "no", "def f(x):", "a b c d e"]
    words = ["generate-text", *texts, "--model", model, "--tokenizer", str(folder), "--length", "9"]
    assert call([*words, "--url", served.http, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["tokens"] for one in found] == [generated(folder, auto, text, 9) for text in texts]
    assert call([*words, "--url", served.http]) == 0
    lines = capsys.readouterr().out
    assert all(one["added"].strip() in lines for one in found)
    assert ("def f(x):" in lines) is shown, "what goes on with a text is shown behind it"


def test_a_load_finds_every_answer_right(served: Server) -> None:
    run = load_everything(served, served.repository.parent)
    in_front = {f"text_{kind}{part}" for kind in ("bert", "albert") for part in ("", "_tokenizer", "_model")}
    writing = {"writer", "rewriter_encoder", "rewriter_step"}
    assert {part["model"] for part in run["parts"]} == {"text_roberta", *in_front, *writing}
