"""Zero-shot pictures: the two towers of CLIP and its kin as two models, whose embeddings are compared by the client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from export.pretrained.folder import Folder
from export.pretrained.seeing import picture_subject
from export.pretrained.serving_text import text_subject
from export.pretrained.subject import Arrays, Named, Subject, Tensors
from export.pretrained.texts import long_text
from export.pretrained.tokens import load_tokens
from export.pretrained.wanted import Wanted
from training.tensors import Tensor

OUTPUT = "embedding"


def both_towers(folder: Folder, model: Any, wanted: Wanted) -> tuple[Subject, Subject]:
    """Serve `NAME_text` and `NAME_image`: `embedding` float32 [batch, width] of length 1. A client multiplies two of
    them, by `logit_scale` of the manifest, and takes the softmax over its texts.

    Raises:
        ConchError: there is no tokenizer or no image processor.
    """
    said = {"logit_scale": float(model.logit_scale.detach().exp())}
    text = _text(folder, model, replace(wanted, name=f"{wanted.name}_text"))

    def see(model: Any, given: Tensors) -> Named:
        return {OUTPUT: _length_1(model.visual_projection(model.vision_model(**given).pooler_output))}

    picture = picture_subject(folder, model, replace(wanted, name=f"{wanted.name}_image"), see)
    return tuple(replace(one, source={**one.source, **said}) for one in (text, picture))  # type: ignore[return-value]


def _text(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    tokens = load_tokens(folder, model.text_model, wanted.tokenizer)
    texts, _ = wanted.chosen_texts()

    def answer(model: Any, given: Tensors) -> Named:
        return {OUTPUT: _length_1(model.text_projection(model.text_model(**given).pooler_output))}

    def own(model: Any, given: Tensors) -> Named:
        found = model.get_text_features(**given)
        return {OUTPUT: _length_1(getattr(found, "pooler_output", found))}

    return text_subject(
        wanted, tokens, model, [tokens.item(*text) for text in (*texts, (long_text(),))], answer, own,
        outputs=(Tensor(OUTPUT, "float32", ("batch", model.config.projection_dim)),), same=_near,
    )  # fmt: skip


def _length_1(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _near(one: Arrays, other: Arrays) -> bool:
    return float(np.dot(one[OUTPUT], other[OUTPUT])) > 0.9999
