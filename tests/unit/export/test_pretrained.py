"""transformers folders: wrapped as transformers means them, and refused with a reason where their weights are not."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from conch.contracts.errors import ConchError
from export.__main__ import main
from export.pretrained import pretrained_export, tokenizer_proof, tokens
from export.pretrained.folder import read_folder
from export.pretrained.own_answers import OwnProof, agreement, answer_all, prove_own
from export.pretrained.subject import Named, Subject, Tensors, Wrapped
from export.pretrained.tasks import find_task, prepare_subjects
from export.pretrained.text_in import check_takes_text, take_text
from export.pretrained.tokenizer_graph import TEXT, NotInGraph, tokenizer_graph
from export.pretrained.wanted import Wanted
from export.proof.runtime import onnx_predict
from tests.support.pretrained_folders import ALL, POSITIONS, Made, make, save_tokenizer
from training.predict import run_served

QUICK = ("bert", "gpt2", "bert-tags", "bert-answers", "roberta-mask", "mpnet-embeddings", "resnet", "clip",
         "wav2vec2-base", "whisper-features", "gpt2-writer", "llama-writer", "qwen2-writer", "t5-rewriter",
         "bart-rewriter")  # fmt: skip
TEXTS = (
    "Good.",
    "What a long and tedious afternoon at the office",
    "def f(x): return x",
    "Ärger mit 价格 😀",
    "no no no",
)
KINDS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in ALL]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A few texts of several lengths."""
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS), encoding="utf-8")
    return file


def prepared(folder: Path, made: Made, texts: Path | None = None, **wanted: Any) -> Subject:
    """What is served of a folder, nothing converted yet."""
    _, _, (subject, *_), _ = prepare_subjects(read_folder(folder, False), made.task, Wanted("m", 3, texts, **wanted))
    return subject


def own_proof(subject: Subject) -> OwnProof:
    """The served module, run by PyTorch, against transformers."""
    return prove_own(subject, answer_all(subject), lambda inputs: run_served(subject.served, inputs))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_served_answers_as_transformers_alone(kind: str, tmp_path: Path, texts: Path) -> None:
    made = ALL[kind]
    folder = read_folder(make(tmp_path / kind, made), False)
    _, _, subjects, _ = prepare_subjects(folder, made.task, Wanted("m", 3, texts if made.lines else None))
    for subject in subjects:
        answers, served = answer_all(subject), partial(run_served, subject.served)
        assert prove_own(subject, answers, served).failures == ()
        assert answers.float64, "a reference in float64"
        assert [metric.value for metric in agreement(subject, answers, served)] == [100.0]


@pytest.mark.slow
def test_a_module_that_forgets_its_mask_is_found_in_the_batch_alone(tmp_path: Path, texts: Path) -> None:
    """The parity grid cannot see it: PyTorch and ONNX Runtime forget alike."""
    subject = prepared(make(tmp_path / "bert", ALL["bert"]), ALL["bert"], texts)

    def forgetful(model: Any, given: Tensors) -> Named:
        return {"probabilities": model(given["input_ids"]).logits.softmax(-1)}

    names = [tensor.name for tensor in subject.served.inputs]
    wrong = replace(subject, served=replace(subject.served, module=Wrapped(subject.model, names, forgetful).eval()))
    proof = own_proof(wrong)
    assert proof.alone["probabilities"] < 1e-5
    assert proof.in_batch["probabilities"] > 1e-3
    assert all("in a batch" in failure for failure in proof.failures)


@pytest.mark.slow
def test_weights_that_answer_everything_alike_prove_nothing(tmp_path: Path, texts: Path) -> None:
    flat = replace(ALL["bert"], settings={"initializer_range": 1e-6})
    with pytest.raises(ConchError, match="which would prove nothing"):
        answer_all(prepared(make(tmp_path / "bert", flat), flat, texts))


@pytest.mark.slow
def test_a_text_is_cut_where_the_model_ends(tmp_path: Path, texts: Path) -> None:
    """RoBERTa has two positions fewer than its table, and this tokenizer knows no limit at all."""
    made = replace(ALL["roberta"], settings={"max_position_embeddings": 20, "pad_token_id": 1})
    folder = make(tmp_path / "roberta", made)
    save_tokenizer(folder, "bytes", model_max_length=int(1e30))
    subject = prepared(folder, made, texts)
    assert subject.source["most_tokens"] == 18
    assert subject.items[-1]["input_ids"].shape == (18,)
    assert own_proof(subject).failures == ()


def rewrite(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file."""
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the tensors of the one file."""
    tensors = dict(load_file(folder / "model.safetensors"))
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _without_tokenizer(folder: Path) -> None:
    for file in folder.glob("token*"):
        file.unlink()


def _as_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def _a_shard_short(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"")


TRAPS: Mapping[str, tuple[Callable[[Path], Any], str]] = {
    "a pickle": (_as_pickle, r"pytorch_model.bin alone, a pickle.*--torch-weights"),
    "no tokenizer": (_without_tokenizer, r"has no tokenizer .*--tokenizer FOLDER"),
    "a pointer": (_as_pointer, r"a pointer of git-lfs"),
    "a shard short": (_a_shard_short, r"1 of 2 shards are missing, first model-00002-of-00002"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"no model.safetensors and no"),
    "no configuration": (lambda f: (f / "config.json").unlink(), r"has no config.json"),
    "no head": (
        lambda f: change_weights(f, lambda t: [t.pop(name) for name in [*t] if name.startswith("classifier")]),
        r"no weights for classifier.bias, classifier.weight of BertForSequenceClassification, which would be random",
    ),
    "another shape": (
        lambda f: change_weights(f, lambda t: t.update({"classifier.weight": torch.zeros(5, 32)})),
        r"cannot be loaded: .*classifier.weight|weights of another shape .*classifier.weight",
    ),
    "code of its own": (
        lambda f: rewrite(f / "config.json", lambda c: c.update(model_type="mine", auto_map={"AutoConfig": "mine.C"})),
        r"knows no model_type 'mine' with code of its own \(auto_map\), which is never run",
    ),
    "no architecture": (
        lambda f: rewrite(f / "config.json", lambda c: c.pop("architectures")), r"names no architecture; .*--task",
    ),
    "an architecture for nothing": (
        lambda f: rewrite(f / "config.json", lambda c: c.update(architectures=["BertForNextSentencePrediction"])),
        r"BertForNextSentencePrediction is for no task that is known here",
    ),
    "quantized": (
        lambda f: rewrite(f / "config.json", lambda c: c.update(quantization_config={"quant_method": "gptq"})),
        r"quantized \(gptq\)",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), r"config.json cannot be read"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("trap", TRAPS)
def test_a_folder_that_cannot_be_used_is_refused_with_its_reason(trap: str, tmp_path: Path) -> None:
    break_it, reason = TRAPS[trap]
    folder = make(tmp_path / "bert", ALL["bert"])
    break_it(folder)
    with pytest.raises(ConchError, match=reason):
        prepared(folder, ALL["bert"])


@pytest.mark.slow
def test_the_task_is_found_by_what_prepares_the_inputs(tmp_path: Path) -> None:
    """Text and sounds have classes of one ending, and older folders call a picture's processor a feature extractor."""
    found = {}
    for kind in ("bert", "wav2vec2", "wav2vec2-features", "ast", "mpnet-embeddings", "vit", "dinov2"):
        folder = make(tmp_path / kind, ALL[kind])
        if kind in ("vit", "dinov2"):
            settings = folder / "preprocessor_config.json"
            rewrite(settings, lambda c: c.update(feature_extractor_type=c.pop("image_processor_type")))
        found[kind] = find_task(read_folder(folder, False), None).name
    assert found == {
        "bert": "text-classification", "wav2vec2": "audio-classification", "wav2vec2-features": "speech-features",
        "ast": "audio-classification", "mpnet-embeddings": "embeddings", "vit": "image-classification",
        "dinov2": "image-features",
    }  # fmt: skip


@pytest.mark.slow
def test_shards_bfloat16_and_pickles_that_are_asked_for_are_read(tmp_path: Path, texts: Path) -> None:
    """All hold the same weights, the second rounded."""
    made, labels = ALL["bert"], tmp_path / "labelled.tsv"
    labels.write_text("good\tfine\n1\tso\n")
    one, shards, pickle = make(tmp_path / "one", made), make(tmp_path / "shards", made, max_shard_size="20KB"), tmp_path
    pickle = make(tmp_path / "pickle", made)
    _as_pickle(pickle)
    (shards / "notes.xyz").write_text("no business of ours")
    assert len(list(shards.glob("model-*.safetensors"))) > 1
    change_weights(half := make(tmp_path / "half", made), lambda t: t.update({n: v.bfloat16() for n, v in t.items()}))
    rewrite(half / "config.json", lambda c: c.update(dtype="bfloat16"))
    answers = [
        run_served(subject.served, subject.served.examples)["probabilities"]
        for folder, pickles in ((one, False), (shards, False), (pickle, True), (half, False))
        for _, _, (subject,), _ in [prepare_subjects(read_folder(folder, pickles), None, Wanted("m", 3, texts))]
    ]
    assert {answer.dtype for answer in answers} == {np.dtype("float32")}
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])
    np.testing.assert_allclose(answers[0], answers[3], atol=0.1)
    assert not np.array_equal(answers[0], answers[3])


@pytest.mark.slow
def test_labels_of_a_file_are_by_name_or_number(tmp_path: Path) -> None:
    folder, file = make(tmp_path / "bert", ALL["bert"]), tmp_path / "labelled.tsv"
    file.write_text("good\tfine\n0\tbad\nso so\tmiddling\n")
    subject = prepared(folder, ALL["bert"], labelled=file)
    assert list(subject.truths) == [2, 0, 1]
    scores = agreement(subject, answer_all(subject), lambda inputs: run_served(subject.served, inputs))
    assert [metric.name for metric in scores] == ["agreement with transformers", "accuracy"]
    file.write_text("splendid\tfine\n0\tbad\n")
    with pytest.raises(ConchError, match=r"text 1: label 'splendid' is none of the model's: bad, so so, good"):
        prepared(folder, ALL["bert"], labelled=file)


@pytest.mark.slow
def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, texts: Path) -> None:
    made = replace(ALL["bert"], settings={"vocab_size": 100})
    with pytest.raises(ConchError, match=r"token \d+ of '.*' is none of the model's 100"):
        prepared(make(tmp_path / "bert", made), made, texts)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ALL)
def test_each_is_exported(kind: str, tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / kind, ALL[kind])
    task = ("--task", ALL[kind].task) if ALL[kind].task else ()
    monkeypatch.setattr(sys, "argv", ["export", "pretrained", str(folder), "--name", "m", *task, *ALL[kind].words])
    assert main() == 0


def test_of_two_models_none_is_published_where_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step beside the encoder of an export before would write nonsense."""
    subjects = [Mock(pictures=None, generating=None, **{"served.name": name}) for name in ("m_encoder", "m_step")]
    published, asked = Mock(), Mock()

    def prove(subject: Any, *_: Any) -> Any:
        assert asked.call_count == 2, "all were asked before any is converted"
        if subject is subjects[1]:
            raise ConchError("the step's proof fails")
        return Mock()

    monkeypatch.setattr(pretrained_export, "answer_all", asked)
    monkeypatch.setattr(pretrained_export, "_prove", prove)
    monkeypatch.setattr(pretrained_export, "_publish", published)
    with pytest.raises(ConchError, match="the step's proof fails"):
        pretrained_export.export_pretrained(subjects, {}, {}, pretrained_export.How())
    published.assert_not_called()


def graphs_tokens(graph: Path) -> Callable[[list[str]], dict[str, np.ndarray]]:
    """What the graph makes of texts."""
    predict = onnx_predict(graph)
    return lambda texts: dict(predict({TEXT: np.array(texts, dtype=object)}))


def byte_level(folder: Path, texts: Path) -> Subject:
    """A RoBERTa with a byte-level tokenizer."""
    return prepared(make(folder, ALL["roberta"]), ALL["roberta"], texts)


@pytest.mark.slow
def test_the_graph_of_a_tokenizer_answers_as_the_python_one(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Special names, odd and random texts in few; all 10,000 are what each export with the flag proves."""
    monkeypatch.setattr(tokenizer_proof, "TEXTS", 1500)
    own = byte_level(tmp_path / "roberta", texts).tokens
    onnx.save(tokenizer_graph(own, 18, 10), tmp_path / "tokenizer.onnx")
    proof = tokenizer_proof.prove_tokenizer(graphs_tokens(tmp_path / "tokenizer.onnx"), own)
    assert (proof.texts, proof.different, proof.first) == (1500, 0, "")
    found = onnx_predict(tmp_path / "tokenizer.onnx")({TEXT: np.array(["", "a [MASK] <3", "a" * 999], dtype=object)})
    assert found["attention_mask"].sum(1).tolist()[::2] == [2, POSITIONS]


@pytest.mark.slow
def test_a_graph_that_tokenizes_otherwise_is_found(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_proof, "TEXTS", 1000)
    own = byte_level(tmp_path / "roberta", texts).tokens
    graph = tokenizer_graph(own, 18, 10)
    merges = next(attribute for attribute in graph.graph.node[0].attribute if attribute.name == "merges")
    merges.s = b"\n".join(merges.s.split(b"\n")[:-1])
    onnx.save(graph, tmp_path / "tokenizer.onnx")
    proof = tokenizer_proof.prove_tokenizer(graphs_tokens(tmp_path / "tokenizer.onnx"), own)
    assert 0 < proof.different < proof.texts


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "reason"), [("bert", "is WordPiece, of which"), ("albert", "is Unigram, of which")])
def test_what_no_graph_can_tokenize_is_told(kind: str, reason: str, tmp_path: Path, texts: Path) -> None:
    subject = prepared(make(tmp_path / kind, ALL[kind]), ALL[kind], texts)
    check_takes_text(subject)
    with pytest.raises(NotInGraph, match=reason):
        tokenizer_graph(subject.tokens, 18, 10)


@pytest.mark.slow
def test_what_no_server_can_tokenize_is_refused_before_it_is_converted(tmp_path: Path, texts: Path) -> None:
    with pytest.raises(ConchError, match="one answer to one text"):
        check_takes_text(prepared(make(tmp_path / "tags", ALL["bert-tags"]), ALL["bert-tags"], texts))
    subject = prepared(make(tmp_path / "bert", ALL["bert"]), ALL["bert"], texts)
    in_python = replace(subject, tokens=replace(subject.tokens, tokenizer=object()))
    with pytest.raises(ConchError, match="object is no tokenizer of the library tokenizers"):
        check_takes_text(in_python)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the quicker exporter is the older one
def test_a_graph_that_differs_gives_way_to_a_tokenizer_in_front(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte-level BPE that splits words otherwise than the operator. The longest text of the proof is longer where it
    is served, and left out."""
    monkeypatch.setattr(tokenizer_proof, "TEXTS", 300)
    monkeypatch.setattr(tokens, "LONGEST", POSITIONS // 2)
    folder = make(tmp_path / "roberta", ALL["roberta"])
    rewrite(folder / "tokenizer.json", lambda found: found["pre_tokenizer"].update(add_prefix_space=True))
    subject = prepared(folder, ALL["roberta"], texts)

    torch.onnx.export(
        subject.served.module, tuple(torch.zeros(2, 5, dtype=torch.int64) for _ in subject.served.inputs),
        tmp_path / "model.onnx", input_names=[tensor.name for tensor in subject.served.inputs],
        output_names=["probabilities"], dynamo=False,
        dynamic_axes={tensor.name: {0: "batch", 1: "sequence"} for tensor in subject.served.inputs},
    )  # fmt: skip
    found = take_text(subject, answer_all(subject), tmp_path / "model.onnx", tmp_path / "with-tokenizer")
    assert found.graph is None
    assert "its graph differs from the Python tokenizer on" in found.because
    assert found.tokenizer.different == 0
    assert (found.own.failures, found.own.items) == ((), len(TEXTS))
