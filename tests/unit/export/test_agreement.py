"""What judges a variant without a recipe: agreement with fp32's answers, or a function, and what it cannot tell."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from conch.contracts.errors import ConchError
from export.commands.precision_choices import parse_allowed_loss
from export.precision.agreement import AgreementJudge
from export.precision.items import distinct, split
from export.precision.judge import losses
from export.precision.original import Original
from export.precision.score_function import ScoreJudge
from training.score import AllowedLoss, Predict

DRAW = np.random.default_rng(0)
LOGITS = DRAW.standard_normal((400, 5))
LOGITS[:, 0] += 0.1


def original(items: int, batch: int = 8) -> Original:
    return Original(
        name="m", fp32=Path("m"), inputs=("row",), outputs={"y": "float32"}, largest_batch=batch,
        examples={"row": np.arange(items)}, calibration={}, how_to_calibrate="", runs=lambda: iter(()),
        check=lambda _: (), tolerances={},
    )  # fmt: skip


def giving(answers: NDArray) -> Predict:
    return lambda inputs: {"y": answers[inputs["row"]]}


def softmax(logits: NDArray) -> NDArray:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def last_wrong(answers: NDArray, share: float) -> NDArray:
    """The last items of `answers` with their classes turned."""
    changed = answers.copy()
    wrong = int(len(answers) * share)
    changed[-wrong:] = np.roll(changed[-wrong:], 1, axis=-1)
    return changed


@pytest.mark.parametrize(
    ("fp32", "variant", "classes", "metric", "value"),
    [
        (softmax(LOGITS), softmax(LOGITS * 1.1), (), "agreement of y", 100),
        (softmax(LOGITS), last_wrong(softmax(LOGITS), 0.1), (), "agreement of y", 90),
        (LOGITS, LOGITS * 1.1, (), "relative error of y", 10),
        (LOGITS, LOGITS * 1.1, ("y",), "agreement of y", 100),
        (LOGITS, last_wrong(LOGITS, 0.1), ("y",), "agreement of y", 90),
        (LOGITS, np.full_like(LOGITS, np.nan), ("y",), "agreement of y", 0),
        (LOGITS.argmax(1), last_wrong(LOGITS, 0.1).argmax(1), (), "agreement of y", 90),
        (LOGITS, np.where(LOGITS > 2, np.nan, LOGITS), (), "relative error of y", np.inf),
        (np.where(LOGITS > 2, -np.inf, LOGITS), np.where(LOGITS > 2, -np.inf, LOGITS), (), "relative error of y", 0),
        (np.zeros((400, 3)), np.zeros((400, 3)), (), "relative error of y", 0),
    ],
)  # fmt: skip
def test_answers_are_compared_by_what_they_are(
    fp32: NDArray, variant: NDArray, classes: tuple[str, ...], metric: str, value: float
) -> None:
    judge = AgreementJudge(original(len(fp32)), giving(fp32), classes, None, "x.npz")
    (found,) = judge.judge(giving(variant)).score
    assert (found.name, found.unit) == (metric, "%")
    assert found.value == pytest.approx(value)
    assert bool(losses(judge, [found])) is (value in (90, 10, np.inf) or (metric.startswith("agr") and value == 0))
    assert bool(judge.remarks) is (metric.startswith("relative"))


@pytest.mark.parametrize(
    ("items", "variant", "told"),
    [
        (400, softmax(LOGITS), ""),
        (30, softmax(LOGITS), "agreement of y is judged on 30 items, where chance alone moves it by 6.6 points"),
        (1, softmax(LOGITS), "judged on 1 item, where chance alone moves it by 1e+02 points"),
        (400, softmax(LOGITS) * 0.97, ""),
    ],
)
def test_what_few_items_cannot_tell_is_said(items: int, variant: NDArray, told: str) -> None:
    judge = AgreementJudge(original(items), giving(softmax(LOGITS)), ("y",), None, "x.npz")
    assert told in "".join(judge.judge(giving(variant)).cannot_tell)
    assert bool(told) is bool(judge.judge(giving(variant)).cannot_tell)


def test_an_error_close_to_what_is_allowed_is_not_sure_on_few_items() -> None:
    """Five items of which one is far off: 4 % in the mean, and chance moves that by more than the point left."""
    variant = LOGITS.copy()
    variant[4] *= 1.2
    judge = AgreementJudge(original(5), giving(LOGITS), (), None, "x.npz")
    judged = judge.judge(giving(variant))
    assert 3 < judged.score[0].value < 5
    assert "whether 5 was lost it cannot tell" in judged.cannot_tell[0]


def test_a_file_without_a_batch_axis_is_judged_item_by_item() -> None:
    judge = AgreementJudge(original(4, batch=0), giving(LOGITS), ("y",), None, "x.npz")
    assert judge.judge(giving(last_wrong(LOGITS[:4], 0.25))).score[0].value == 75


@pytest.mark.parametrize(
    ("classes", "allowed", "said"),
    [
        (("z",), None, "--classes z: there is no such output; there are y"),
        ((), AllowedLoss(0.01, relative=True), "are points, as in --allowed-loss 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(classes: tuple[str, ...], allowed: AllowedLoss | None, said: str) -> None:
    with pytest.raises(ConchError, match=said):
        AgreementJudge(original(4), giving(LOGITS), classes, allowed, "x.npz")


SCORES = """
import itertools
import numpy as np

seen = itertools.count()

def accuracy(predict):
    return np.mean(predict({"row": np.arange(20)})["y"].argmax(1) == 0)

def drawn(predict): return next(seen)
def empty(predict): return 0.5
def broken(predict): return predict({"column": np.arange(20)})
def text(predict): return "much"
def infinite(predict): return float("inf")
number = 3
"""


@pytest.fixture
def judge(tmp_path: Path) -> Callable[[str], ScoreJudge]:
    (tmp_path / "judge.py").write_text(SCORES)
    return lambda name: ScoreJudge(original(20), giving(LOGITS), f"{tmp_path / 'judge.py'}:{name}", None)


def test_a_function_judges_by_what_it_asks(judge: Callable[[str], ScoreJudge]) -> None:
    accuracy = judge("accuracy")
    assert (accuracy.described, accuracy.fp32[0].name) == ("accuracy of judge.py", "accuracy")
    judged = accuracy.judge(giving(last_wrong(LOGITS[:20], 0.5)))
    assert judged.score[0].value != accuracy.fp32[0].value
    assert "asked for 20 items: where it is a share of them" in judged.cannot_tell[0]
    assert "it cannot tell anything" in judge("empty").judge(giving(LOGITS)).cannot_tell[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("drawn", "gives 0 and then 1 for the same file"),
        ("broken", "raised KeyError: 'row'; it gets predict, which takes and returns a dictionary"),
        ("text", "raised ValueError: could not convert"),
        ("infinite", "returned inf; it must be a finite number"),
        ("number", "is a int; it must be a function"),
        ("gone", "has no 'gone'"),
    ],
)
def test_a_function_that_does_not_judge_is_refused(judge: Callable[[str], ScoreJudge], name: str, said: str) -> None:
    with pytest.raises(ConchError, match=said):
        judge(name)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.5", AllowedLoss(0.5)), ("1%", AllowedLoss(0.01, relative=True)), ("", None), ("-1", None), ("1e9", None),
        ("half", None),
    ],
)  # fmt: skip
def test_what_may_be_lost_is_a_number_or_a_share(text: str, wanted: AllowedLoss | None) -> None:
    if wanted:
        assert parse_allowed_loss(text) == wanted
    else:
        with pytest.raises(ConchError, match=r"must be a number such as 0\.5, or a share such as 1%"):
            parse_allowed_loss(text)


def test_no_item_both_calibrates_and_judges() -> None:
    items = {"x": np.array([3, 1, 3, 2, 4])}
    once = distinct(items)
    assert once["x"].tolist() == [3, 1, 2, 4]
    judging, calibration = split(once, calibrates=True, scored=False)
    assert (judging["x"].tolist(), calibration["x"].tolist()) == ([1, 4], [3, 2])
    assert split(once, calibrates=False, scored=False) == (once, {})
    assert split(once, calibrates=True, scored=True) == (once, once)
    one = {"x": np.array([7])}
    assert split(one, calibrates=True, scored=False) == (one, {})
