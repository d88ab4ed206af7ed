"""Tasks of one picture: classification, features, segmentation and depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from export.pretrained.folder import Folder
from export.pretrained.pictures import load_pictures
from export.pretrained.subject import Arrays, Named, Subject, Tensors, Wrapped
from export.pretrained.wanted import Wanted
from training.served import Served
from training.tensors import Tensor

INPUT = "pixel_values"
Answer = Callable[[Any, Tensors], Named]


def classify_pictures(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `probabilities` float32 [batch, labels].

    Raises:
        ConchError: there is no image processor.
    """
    labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))

    def answer(model: Any, given: Tensors) -> Named:
        return {"probabilities": model(**given).logits.softmax(-1)}

    return picture_subject(folder, model, wanted, answer, labels, _same_class)


def picture_features(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `features` float32 [batch, width]: what the model pools, or where it pools nothing its first vector.

    Raises:
        ConchError: there is no image processor.
    """

    def answer(model: Any, given: Tensors) -> Named:
        found = model(**given)
        pooled = getattr(found, "pooler_output", None)
        return {"features": found.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)}

    return picture_subject(folder, model, wanted, answer)


def segment(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `logits` float32 [batch, labels, height, width], of the size that the model gives.

    Raises:
        ConchError: there is no image processor.
    """

    def answer(model: Any, given: Tensors) -> Named:
        return {"logits": model(**given).logits}

    labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))
    found = picture_subject(folder, model, wanted, answer, same=_same_pixels)
    return replace(found, served=replace(found.served, class_labels={"logits": labels}))


def estimate_depth(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `depth` float32 [batch, height, width], of the size that the model gives.

    Raises:
        ConchError: there is no image processor.
    """

    def answer(model: Any, given: Tensors) -> Named:
        return {"depth": model(**given).predicted_depth}

    return picture_subject(folder, model, wanted, answer)


def picture_subject(
    folder: Folder,
    model: Any,
    wanted: Wanted,
    answer: Answer,
    labels: Sequence[str] = (),
    same: Callable[[np.ndarray, np.ndarray], bool] | None = None,
) -> Subject:
    """A model of `pixel_values` float32 [batch, channels, height, width], as the folder's processor gives them.

    `answer` gives one output, whose shape is found by running it.
    """
    pictures = load_pictures(folder, wanted.pictures)
    items = pictures.items()
    batch = np.stack([item[INPUT] for item in items])
    with torch.inference_mode():
        ((name, found),) = answer(model, {INPUT: torch.from_numpy(batch[:1].copy())}).items()
    served = Served(
        name=wanted.name,
        module=Wrapped(model, (INPUT,), answer).eval(),
        inputs=(Tensor(INPUT, "float32", ("batch", *batch.shape[1:]), float(batch.min()), float(batch.max())),),
        outputs=(Tensor(name, "float32", ("batch", *found.shape[1:])),),
        examples={INPUT: batch},
        labels={name: tuple(labels)} if labels else {},
        largest_batch=wanted.largest_batch,
    )
    means_same = same or (lambda one, other: bool(np.allclose(one, other, 1e-2, 1e-2 * np.abs(other).max())))

    def agree(one: Arrays, other: Arrays) -> bool:
        return means_same(one[name], other[name])

    processor = type(pictures.processor).__name__
    source = {"processor": processor, "inputs": f"{pictures.source} ({len(items)})"}
    return Subject(
        served, model, answer, items, agree, pictures=pictures, source=source,
        told=(f"{processor}: pixels {[*batch.shape[1:]]}",),
    )  # fmt: skip


def _same_class(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(one.argmax() == other.argmax())


def _same_pixels(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether all but one pixel in a thousand are of the same class [labels, height, width]."""
    return bool((one.argmax(0) != other.argmax(0)).mean() <= 1e-3)
