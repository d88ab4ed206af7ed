"""A proven model with its image processor in front, in one graph that takes PNG files, proven anew as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conch.contracts.errors import ConchError
from export.conversion.convert import EXTERNAL_DATA
from export.pretrained.own_answers import OwnAnswers, OwnProof, answer_all, prove_own
from export.pretrained.picture_graph import PICTURE, PIXELS, picture_graph, with_pictures
from export.pretrained.picture_proof import PictureProof, png_of, prove_pictures
from export.pretrained.picture_steps import steps_of
from export.pretrained.subject import Arrays, Subject, padded
from export.proof.runtime import onnx_predict
from training.served import Served
from training.tensors import Tensor

ENCODING = {"input_encoding": "png"}
"""What the configuration says to clients: the one input has the bytes of such a file."""
EXAMPLES = 8
"""Pictures that a version keeps as golden inputs: the smallest, since each is filled up to the largest."""


@dataclass(frozen=True)
class Seen:
    """The file that takes pictures, and what was shown of it."""

    served: Served
    path: Path
    pictures: PictureProof
    own: OwnProof

    def as_json(self) -> dict[str, Any]:
        """For parity.json."""
        return {"image_processor": self.pictures.as_json(), "own_answers": self.own.as_json()}


def check_processor(subject: Subject) -> None:
    """Refuse, before anything is converted, what has no graph for its image processor.

    Raises:
        ConchError: the model takes no pictures, or the processor does what the graph cannot.
    """
    if subject.pictures is None:
        raise ConchError("--with-image-processor is for models of pictures; this one takes none")
    picture_graph(steps_of(subject.pictures.processor), 18, 10)


def see(subject: Subject, answers: OwnAnswers, path: Path, folder: Path) -> Seen:
    """Put the image processor in front of the proven file `path`; the result is written into `folder`.

    Raises:
        ConchError: the graph's pixels are not the Python processor's, the answers to a file are not transformers' own
            to its pixels, or mean something else than its answers to Python's pixels, or the weights lie outside the
            file.
    """
    if (path.parent / EXTERNAL_DATA).exists():
        raise ConchError("--with-image-processor: the weights are too large for one file, which is not covered")
    model, name = onnx.load(path), subject.served.name
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    given, steps = subject.pictures, steps_of(subject.pictures.processor)
    graph = picture_graph(steps, opset, model.ir_version)
    folder.mkdir()
    alone, whole = folder.with_name("pictures.onnx"), folder / "model.onnx"
    onnx.save(graph, alone)
    shown = prove_pictures(alone, steps, given.processor, given.pictures)
    if not shown.passed:
        raise ConchError(f"{name}: nothing was published, the image processor's graph is another: {shown}")
    onnx.save(with_pictures(graph, model), whole)
    files = [{PICTURE: png_of(picture)} for picture in given.pictures]
    own = _prove_whole(subject, files, alone, whole)
    _refuse_others(subject, answers, files, whole)
    smallest = sorted(files, key=lambda file: file[PICTURE].size)[:EXAMPLES]
    return Seen(_served(subject, smallest), whole, shown, own)


def _served(subject: Subject, files: Sequence[Arrays]) -> Served:
    """The subject as it takes files."""
    return replace(
        subject.served,
        inputs=(Tensor(PICTURE, "uint8", ("batch", "bytes")),),
        examples=padded(files, {PICTURE: 0.0}),
        sizes={},
    )


def _prove_whole(subject: Subject, files: Sequence[Arrays], alone: Path, whole: Path) -> OwnProof:
    """Files alone, and filled up in batches, against transformers' own answers to the pixels that the graph makes."""
    predict = onnx_predict(alone)
    pixels = [{PIXELS: predict({PICTURE: file[PICTURE][np.newaxis]})[PIXELS][0]} for file in files]
    answers = answer_all(replace(subject, items=pixels))
    of_files = replace(subject, served=_served(subject, files), items=files, padding={PICTURE: 0.0})
    own = prove_own(of_files, answers, onnx_predict(whole))
    if own.failures:
        raise ConchError(f"{subject.served.name}: nothing was published, with its image processor {own.failures[0]}")
    return own


def _refuse_others(subject: Subject, answers: OwnAnswers, files: Sequence[Arrays], whole: Path) -> None:
    predict = onnx_predict(whole)
    for place, (file, expected) in enumerate(zip(files, answers.float32, strict=True), start=1):
        got = {name: array[0] for name, array in predict({PICTURE: file[PICTURE][np.newaxis]}).items()}
        if not subject.same(got, expected):
            raise ConchError(
                f"{subject.served.name}: nothing was published, the file of picture {place} is answered otherwise than "
                "transformers answers its own pixels: the model reacts to single levels of 255"
            )
