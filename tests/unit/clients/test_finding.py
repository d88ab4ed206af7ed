"""Which models `detect` and `segment` are meant for, told by their metadata, and what they draw."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from clients.class_labels import label_of
from clients.commands.detect import NEEDS, Found, outputs_of, things
from clients.commands.exit_codes import BadCommand
from clients.commands.finding import find_model
from clients.commands.picture_answers import labels_of
from clients.commands.segment import classes_of
from clients.drawing import with_boxes, with_classes
from clients.errors import UnreadableInput, WrongKind
from clients.signature import Metadata, TensorSpec

IMAGE = TensorSpec("image", "UINT8", (-1, -1, -1, 3), batched=True)
# As somebody else's detector may call them: no count, and names of its own.
BOXES = (
    TensorSpec("num_dets", "INT32", (-1, 1), batched=True),
    TensorSpec("det_boxes", "FP32", (-1, 100, 4), batched=True),
    TensorSpec("det_scores", "FP32", (-1, 100), batched=True),
    TensorSpec("det_classes", "INT32", (-1, 100), batched=True),
)
MASK = TensorSpec("mask", "INT64", (-1, -1, -1), batched=True)
LOGITS = TensorSpec("logits", "FP32", (-1, 10), batched=True)
MODELS = {"yolo": BOXES, "parts": (MASK, LOGITS), "cnn": (LOGITS,)}


def metadata(name: str) -> Metadata:
    return Metadata(name, ("1",), "onnxruntime_onnx", (IMAGE,), MODELS[name], 8)


def client(*names: str) -> Any:
    """A server with these models, of which only names and metadata are asked."""
    server = Mock()
    server.models.return_value = [Mock() for _ in names]
    for state, name in zip(server.models.return_value, names, strict=True):
        state.name = name
    server.metadata.side_effect = metadata
    return server


def test_a_detector_is_found_by_its_outputs_whatever_they_are_called() -> None:
    assert find_model(client("cnn", "parts", "yolo"), None, NEEDS, outputs_of) == "yolo"
    names = outputs_of(metadata("yolo"))
    assert (names.boxes, names.scores, names.classes) == ("det_boxes", "det_scores", "det_classes")
    assert names.count == "num_dets"
    assert find_model(client("cnn", "parts", "yolo"), None, "a mask", classes_of) == "parts"


def test_none_several_and_a_wrong_one_are_told() -> None:
    with pytest.raises(BadCommand, match="none fits; needed is one with one picture in; boxes"):
        find_model(client("cnn"), None, NEEDS, outputs_of)
    with pytest.raises(BadCommand, match="cnn, yolo fit"):
        find_model(client("yolo", "cnn"), None, NEEDS, lambda found: found)
    with pytest.raises(WrongKind, match=r"cnn: needs one picture in; boxes .* it has: image UINT8 .* logits FP32"):
        find_model(client("cnn", "yolo"), "cnn", NEEDS, outputs_of)


def test_so_many_things_as_are_counted_and_sure_enough() -> None:
    answers = {
        "num_dets": np.array([2]), "det_boxes": np.zeros((3, 4), np.float32),
        "det_scores": np.array([0.9, 0.2, 0.8]), "det_classes": np.array([4, 5, 6]),
    }  # fmt: skip
    names = outputs_of(metadata("yolo"))
    assert things(names, answers, 0.1) == [Found(4, 0.9, (0, 0, 0, 0)), Found(5, 0.2, (0, 0, 0, 0))]
    assert things(names, answers, 0.5) == [Found(4, 0.9, (0, 0, 0, 0))]


def test_classes_have_names_of_a_file_or_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("background\n\ncat\n")
    own = replace(metadata("yolo"), parameters={"class_labels": '{"det_classes": ["cat", "dog"]}'})
    labels = labels_of(tmp_path / "labels.txt", own, "det_classes")
    assert [label_of(labels, number) for number in (0, 1, 2, 3, -1)] == [
        "background", "class 1", "cat", "class 3", "class -1",
    ]  # fmt: skip
    assert labels_of(None, own, "det_classes") == ("cat", "dog")
    assert labels_of(None, own, "num_dets") == labels_of(None, metadata("yolo"), "det_classes") == ()
    with pytest.raises(UnreadableInput, match=r"--labels .*none.txt cannot be read"):
        labels_of(tmp_path / "none.txt", own, "det_classes")


@pytest.mark.parametrize("said", ["cat,dog", '["cat"]', '{"det_classes": "cat"}', '{"det_classes": [1]}', "", "7"])
def test_names_of_classes_that_cannot_be_read_are_told(said: str) -> None:
    with pytest.raises(WrongKind, match=r"yolo: class_labels is .* allowed is a JSON object .* or give --labels"):
        labels_of(None, replace(metadata("yolo"), parameters={"class_labels": said}), "det_classes")


def test_classes_are_drawn_over_the_picture_and_class_0_is_left_as_it_is() -> None:
    pixels, classes = np.full((4, 6, 1), 100, np.uint8), np.zeros((4, 6), np.int64)
    classes[1, 2] = 3
    drawn = with_classes(pixels, classes)
    assert drawn.shape == (4, 6, 3)
    assert (drawn[classes == 0] == 100).all()
    assert (drawn[1, 2] != 100).any()


def test_boxes_are_drawn_on_a_picture_large_enough_to_see_them() -> None:
    drawn = with_boxes(np.zeros((32, 64, 1), np.uint8), [((8, 8, 24, 24), "7 0.99")])
    assert drawn.shape == (256, 512, 3)
    assert drawn[64:66, 64:192].any()
    assert not drawn[:60].any()
