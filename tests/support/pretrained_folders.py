"""Folders as transformers models are downloaded in, made from configurations: random weights, tokenizers trained here.

The weights are drawn wide, so that answers differ from text to text: a proof on constants proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch

from export.pretrained.offline import load_transformers

transformers: Any = load_transformers()
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

VOCABULARY = 400
POSITIONS = 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)

SMALL: Mapping[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": POSITIONS, "initializer_range": 0.3, "pad_token_id": PAD, "bos_token_id": CLS,
    "cls_token_id": CLS, "eos_token_id": SEP, "sep_token_id": SEP, "decoder_start_token_id": PAD,
}  # fmt: skip


@cache
def tokenizer(kind: str) -> Tokenizer:
    """A tokenizer of this kind, trained on the Python manual that came with the interpreter."""
    made = {"wordpiece": _wordpiece, "bytes": _bytes, "unigram": _unigram}[kind]()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return made


def _text() -> list[str]:
    return [topics[topic] for topic in sorted(topics)[:40]]


def _wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(_text(), trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL)))
    return made


def _bytes() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(_text(), trainer)
    return made


def _unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL), unk_token="[UNK]")
    made.train_from_iterator(_text(), trainer)
    return made


@dataclass(frozen=True)
class Made:
    """How a folder is made."""

    architecture: str
    """A class of transformers'."""
    tokens: str = ""
    """The kind of tokenizer."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Beside or instead of `base`."""
    base: Mapping[str, Any] = field(default_factory=lambda: SMALL)
    task: str | None = None
    """Where it is not the architecture's own."""
    words: tuple[str, ...] = ()
    """Further words for the command."""

    hears: tuple[str, Mapping[str, Any]] | None = None
    """Its feature extractor, and the settings of that."""

    @property
    def lines(self) -> bool:
        """Whether it takes a text alone, as a file of lines has."""
        return bool(self.tokens) and self.task != "reranking" and not self.architecture.endswith("ForQuestionAnswering")

    @property
    def config(self) -> Any:
        """The configuration: tiny, with three labels."""
        kind = getattr(transformers, self.architecture).config_class
        labels = {} if "num_labels" in self.settings else {"id2label": {0: "bad", 1: "so so", 2: "good"}}
        vocabulary = {"vocab_size": VOCABULARY} if self.tokens else {}
        return kind(**{**self.base, **vocabulary, **labels, **self.settings})


def make(folder: Path, made: Made, seed: int = 0, **saved: Any) -> Path:
    """Write the folder as `save_pretrained` does."""
    torch.manual_seed(seed)
    model = getattr(transformers, made.architecture)(made.config)
    model.save_pretrained(folder, **saved)
    if made.tokens:
        save_tokenizer(folder, made.tokens)
    if made.hears:
        getattr(transformers, made.hears[0])(**made.hears[1]).save_pretrained(folder)
    elif not made.tokens or made.architecture == "CLIPModel":
        save_processor(folder)
    return folder


def save_processor(folder: Path) -> None:
    """Say beside the weights how a picture becomes pixels."""
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def save_tokenizer(folder: Path, kind: str, **settings: Any) -> None:
    """Write a tokenizer beside the weights."""
    types = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} if kind == "wordpiece" else {}
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(kind), **{**names, **types, "model_max_length": POSITIONS, **settings}
    ).save_pretrained(folder)


CLASSIFIERS: dict[str, Made] = {
    "bert": Made("BertForSequenceClassification", "wordpiece"),
    "roberta": Made("RobertaForSequenceClassification", "bytes", {"max_position_embeddings": POSITIONS + 1}),
    "distilbert": Made(
        "DistilBertForSequenceClassification", "wordpiece", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    ),
    "deberta-v2": Made(
        "DebertaV2ForSequenceClassification", "unigram",
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "share_att_key": True,
         "norm_rel_ebd": "layer_norm", "type_vocab_size": 0, "position_biased_input": False},
    ),
    "albert": Made("AlbertForSequenceClassification", "unigram", {"embedding_size": 16}),
    "electra": Made("ElectraForSequenceClassification", "wordpiece", {"embedding_size": 16}),
    "xlm-roberta": Made("XLMRobertaForSequenceClassification", "unigram", {"max_position_embeddings": POSITIONS + 1}),
    "mpnet": Made("MPNetForSequenceClassification", "wordpiece", {"max_position_embeddings": POSITIONS + 1}),
    "modernbert": Made("ModernBertForSequenceClassification", "bytes", {"local_attention": 8}),
    "t5": Made(
        "T5ForSequenceClassification", "unigram",
        {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "initializer_factor": 2.0},
    ),
    "bart": Made(
        "BartForSequenceClassification", "bytes",
        {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "init_std": 0.3,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
    ),
    "gpt2": Made(
        "GPT2ForSequenceClassification", "bytes",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS, "pad_token_id": None},
    ),
    "llama": Made("LlamaForSequenceClassification", "bytes", {"num_key_value_heads": 2}),
    "qwen2": Made("Qwen2ForSequenceClassification", "bytes", {"num_key_value_heads": 2}),
}  # fmt: skip
"""Text classifiers."""

VISION: Mapping[str, Any] = {"image_size": 32, "patch_size": 8, "num_channels": 3}

OTHERS: dict[str, Made] = {
    "reranker": Made("BertForSequenceClassification", "wordpiece", {"num_labels": 1}, task="reranking"),
    "bert-tags": Made("BertForTokenClassification", "wordpiece"),
    "deberta-tags": Made("DebertaV2ForTokenClassification", "unigram", CLASSIFIERS["deberta-v2"].settings),
    "bert-answers": Made("BertForQuestionAnswering", "wordpiece", {"num_labels": 2}),
    "roberta-mask": Made("RobertaForMaskedLM", "bytes", {"max_position_embeddings": POSITIONS + 1}),
    "modernbert-mask": Made("ModernBertForMaskedLM", "bytes", {"local_attention": 8}),
    "mpnet-embeddings": Made("MPNetModel", "wordpiece", {"max_position_embeddings": POSITIONS + 1}),
    "qwen2-embeddings": Made("Qwen2Model", "bytes", {"num_key_value_heads": 2}, words=("--pooling", "last")),
    "t5-embeddings": Made("T5Model", "unigram", CLASSIFIERS["t5"].settings, task="embeddings"),
    "vit": Made("ViTForImageClassification", settings=VISION),
    "deit": Made("DeiTForImageClassification", settings=VISION),
    "swin": Made(
        "SwinForImageClassification",
        base={},
        settings={**VISION, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "convnext": Made(
        "ConvNextForImageClassification", base={},
        settings={"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "initializer_range": 0.3},
    ),
    "resnet": Made(
        "ResNetForImageClassification",
        base={},
        settings={"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    ),
    "dinov2": Made("Dinov2Model", settings=VISION),
    "segformer": Made(
        "SegformerForSemanticSegmentation",
        base={},
        settings={"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1, 2, 2, 4],
                  "decoder_hidden_size": 16},
    ),
    "depth": Made(
        "GLPNForDepthEstimation", base={},
        settings={"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1, 2, 2, 4],
                  "decoder_hidden_size": 16},
    ),
    "clip": Made(
        "CLIPModel", "bytes",
        {"text_config": {**SMALL, "vocab_size": VOCABULARY, "eos_token_id": SEP},
         "vision_config": {**SMALL, **VISION}, "projection_dim": 24},
    ),
}  # fmt: skip
"""Of each other task."""

CONVOLVED: Mapping[str, Any] = {
    "conv_dim": [8, 16], "conv_kernel": [10, 8], "conv_stride": [40, 8], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16,
    "apply_spec_augment": False, "conv_bias": True,
}  # fmt: skip
HEARERS: dict[str, Made] = {
    "wav2vec2": Made(
        "Wav2Vec2ForSequenceClassification",
        settings={**CONVOLVED, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        hears=("Wav2Vec2FeatureExtractor", {"return_attention_mask": True}),
    ),
    "wav2vec2-base": Made(
        "Wav2Vec2ForSequenceClassification",
        settings={**CONVOLVED, "feat_extract_norm": "group"},
        hears=("Wav2Vec2FeatureExtractor", {}),
    ),
    "wav2vec2-features": Made(
        "Wav2Vec2Model",
        settings={**CONVOLVED, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        hears=("Wav2Vec2FeatureExtractor", {"return_attention_mask": True}),
    ),
    "hubert": Made(
        "HubertForSequenceClassification",
        settings={**CONVOLVED, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        hears=("Wav2Vec2FeatureExtractor", {"return_attention_mask": True}),
    ),
    "wavlm": Made(
        "WavLMModel",
        settings={**CONVOLVED, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        hears=("Wav2Vec2FeatureExtractor", {"return_attention_mask": True}),
    ),
    "ast": Made(
        "ASTForAudioClassification",
        settings={"num_mel_bins": 32, "max_length": 64, "patch_size": 8, "frequency_stride": 8, "time_stride": 8},
        hears=("ASTFeatureExtractor", {"num_mel_bins": 32, "max_length": 64}),
    ),
    "whisper-features": Made(
        "WhisperModel",
        task="speech-features",
        settings={
            "vocab_size": 60,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "num_mel_bins": 16,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_source_positions": 50,
            "init_std": 0.3,
            "max_target_positions": 8,
        },
        hears=("WhisperFeatureExtractor", {"feature_size": 16, "chunk_length": 1}),
    ),
}
"""Of sounds."""

WRITERS: dict[str, Made] = {
    "gpt2-writer": Made("GPT2LMHeadModel", "bytes", CLASSIFIERS["gpt2"].settings),
    "llama-writer": Made("LlamaForCausalLM", "bytes", {"num_key_value_heads": 2}),
    "qwen2-writer": Made("Qwen2ForCausalLM", "bytes", {"num_key_value_heads": 1}),
    "qwen3-writer": Made("Qwen3ForCausalLM", "bytes", {"num_key_value_heads": 2, "head_dim": 16}),
    "gemma2-writer": Made(
        "Gemma2ForCausalLM", "unigram",
        {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 40, "final_logit_softcapping": 5.0,
         "tie_word_embeddings": False},
    ),
}  # fmt: skip
"""Language models that continue a text."""

LAYERED: Mapping[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "init_std": 0.6, "tie_word_embeddings": False,
    "decoder_start_token_id": SEP, "forced_eos_token_id": SEP,
}  # fmt: skip
REWRITERS: dict[str, Made] = {
    "t5-rewriter": Made(
        "T5ForConditionalGeneration", "unigram",
        {**CLASSIFIERS["t5"].settings, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart-rewriter": Made("BartForConditionalGeneration", "bytes", LAYERED),
    "mt5-rewriter": Made("MT5ForConditionalGeneration", "unigram", CLASSIFIERS["t5"].settings),
    "mbart-rewriter": Made("MBartForConditionalGeneration", "unigram", LAYERED),
    "marian-rewriter": Made("MarianMTModel", "unigram", {**LAYERED, "scale_embedding": True}),
    "pegasus-rewriter": Made("PegasusForConditionalGeneration", "unigram", LAYERED),
    "m2m-rewriter": Made("M2M100ForConditionalGeneration", "unigram", LAYERED),
}  # fmt: skip
"""Models that write one text of another."""

ALL = CLASSIFIERS | OTHERS | WRITERS | REWRITERS | HEARERS
