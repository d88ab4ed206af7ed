"""A version with another contract than the one before is asked about, and one with the same is not."""

import json
import re
from pathlib import Path

import onnx
import pytest
from onnx import parser

from serving.commands.publish import publish
from serving.errors import ServingError
from serving.repository.class_labels import named_classes
from serving.repository.configuration import parse, render
from tests.support.foreign_models import HEADER

NAMES = "cat\ndog\nbird\n"
SAME = "m (float[n, 3] x) => (float[n, 3] y) { y = Neg(x) }"
BACK = "a request had at most 32 items, has no batch axis"
CHANGED = {
    "m (float[n, 3] z) => (float[n, 3] y) { y = Neg(z) }": ["input 'x' is gone", "input 'z' is new, FP32 [batch, 3]"],
    "m (double[n, 3] x) => (float[n, 3] y) { y = Cast<to = 1>(x) }": ["'x' was FP32 [batch, 3], is FP64 [batch, 3]"],
    "m (float[n, 4] x) => (float[n, 3] y) <int64[3] i = {0, 1, 2}> { y = Gather<axis = 1>(x, i) }": [
        "input 'x' was FP32 [batch, 3], is FP32 [batch, 4]"
    ],
    "m (float[n, 3] x) => (float[n, 3] y, float[n, 3] w) { y = Neg(x) w = Abs(x) }": [
        "output 'w' is new, FP32 [batch, 3]"
    ],
    "m (float[2, 3] x) => (float[2, 3] y) { y = Neg(x) }": ["input 'x' was FP32 [batch, 3], is FP32 [2, 3]", BACK],
}


def put(folder: Path, text: str, labels: str = NAMES, **flags: bool | int | str) -> None:
    onnx.save(parser.parse_model(HEADER + text), folder / "m.onnx")
    (folder / "labels").write_text(labels)
    named = {"labels": f"y={folder / 'labels'}"} if labels else {}
    publish(folder / "m.onnx", "m", repository=folder / "models", **named, **flags)  # type: ignore[arg-type]


def versions(folder: Path) -> list[str]:
    return sorted(entry.name for entry in (folder / "models" / "m").iterdir() if entry.name.isdecimal())


@pytest.mark.parametrize("text", CHANGED)
def test_other_tensors_are_asked_about(tmp_path: Path, text: str) -> None:
    put(tmp_path, SAME)
    with pytest.raises(ServingError) as refused:
        put(tmp_path, text)
    for words in (*CHANGED[text], "--replace-contract", "model 'm'"):
        assert words in str(refused.value)
    assert versions(tmp_path) == ["1"]
    put(tmp_path, text, replace_contract=True)
    assert versions(tmp_path) == ["1", "2"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("cat\ncow\nbird\n", "labels of 'y': class 1 was 'dog', is 'cow'"),
        ("", "labels of 'y': 3 before, none now"),
    ],
)
def test_other_labels_are_asked_about(tmp_path: Path, labels: str, words: str) -> None:
    put(tmp_path, SAME)
    with pytest.raises(ServingError, match=words):
        put(tmp_path, SAME, labels)
    put(tmp_path, SAME, labels, replace_contract=True)


DETECTS = """m (float[n, 3] x) => (float[n, 2] scores, int64[n, 2] classes) <int64[2] sides = {2, 1}>
{ scores, rest = Split<axis = 1>(x, sides) classes = Cast<to = 7>(scores) }"""


def test_names_of_classes_are_in_the_configuration_and_part_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "names").write_text('cat\ndog "rex"\nKäse\n')
    put(tmp_path, DETECTS, "", class_labels=f"classes={tmp_path / 'names'}")
    config = parse((tmp_path / "models" / "m" / "config.pbtxt").read_text())
    assert json.loads(config.parameters["class_labels"].string_value) == {"classes": ["cat", 'dog "rex"', "Käse"]}
    assert named_classes(config) == {"classes": ("cat", 'dog "rex"', "Käse")}
    (tmp_path / "names").write_text("cat\ncow\nKäse\n")
    with pytest.raises(ServingError, match="labels of 'classes': class 1 was 'dog \"rex\"', is 'cow'"):
        put(tmp_path, DETECTS, "", class_labels=f"classes={tmp_path / 'names'}")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("classes=none.txt", "--class-labels classes=none.txt: cannot read none.txt"),
        ("names", "--class-labels names: say of which output, OUTPUT=FILE, with one of"),
        ("classes=/dev/null", "class labels of output 'classes': a label is one line of text that is not empty"),
    ],
)
def test_names_of_classes_that_cannot_be_are_refused(tmp_path: Path, given: str, words: str) -> None:
    with pytest.raises(ServingError, match=re.escape(words)):
        put(tmp_path, DETECTS, "", class_labels=given)


def test_smaller_batches_are_asked_about(tmp_path: Path) -> None:
    put(tmp_path, SAME)
    with pytest.raises(ServingError, match="a request had at most 32 items, has 8"):
        put(tmp_path, SAME, max_batch=8)


def test_what_surprises_no_client_is_not_asked_about(tmp_path: Path) -> None:
    put(tmp_path, SAME, labels="", max_batch=8)
    put(tmp_path, "m (float[n, 3] x) => (float[n, 3] y) { y = Abs(x) }")  # first labels, more items, other weights
    file = tmp_path / "models" / "m" / "config.pbtxt"
    config = parse(file.read_text())
    config.instance_group[0].count = 7
    config.dynamic_batching.max_queue_delay_microseconds = 9
    file.write_text(render(config))
    put(tmp_path, SAME)
    file.write_text("{{{")  # what nobody could serve promises nothing
    put(tmp_path, "m (float[n, 3] z) => (float[n, 3] y) { y = Neg(z) }")
    assert versions(tmp_path) == ["1", "2", "3", "4"]
