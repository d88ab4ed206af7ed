"""How tokens are chosen: what a model's configuration says of it, and that nothing else is taken."""

import json
from collections.abc import Mapping

import numpy as np
import pytest

from clients.generation import KEY, Generation, UnknownGeneration, described, greedy


def test_a_description_comes_back_as_it_was_said() -> None:
    said = Generation(end=(3, 5), most=64, encoder="e", start=(0,), repetition_penalty=1.5, forced_first=2)
    assert described({KEY: said.as_parameter()}) == said
    assert json.loads(Generation(end=(3,)).as_parameter()) == {"end": [3]}
    assert described({"picture_fit": "crop"}) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{", "a JSON object"), ("[1]", "a JSON object"), ('{"beams": 4}', "has 'beams', allowed are end, most"),
        ('{"end": 3}', r"has end 3, allowed are tokens"), ('{"most": "64"}', "has most '64', allowed is int"),
        ('{"end": [true]}', "allowed are tokens"), ('{"minimum": 1.5}', "allowed is int"),
        ('{"repetition_penalty": "a"}', "allowed is float"), ('{"encoder": 1}', "allowed is str"),
    ],
)  # fmt: skip
def test_a_description_that_is_none_is_refused(value: str, reason: str) -> None:
    with pytest.raises(UnknownGeneration, match=reason):
        described({KEY: value})


def test_rows_that_end_are_not_sent_on() -> None:
    """A model that counts: 1 more than the last token; 9 ends a text, and there is room for 12 tokens in all."""
    sent = []

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        ids, mask, before = given["input_ids"], given["attention_mask"], given["past_x"]
        sent.append(len(ids))
        last = np.take_along_axis(ids, mask.sum(1, keepdims=True) - 1, 1)[:, 0]
        logits = np.eye(20, dtype=np.float32)[last + 1]
        return {"logits": logits, "present_x": np.concatenate([before, ids * mask], 1)}

    inputs = {"past_x": np.zeros((1, 1), np.int64), "attention_mask": np.zeros((1, 1), np.int64)}
    written = greedy(run, [[7], [1, 2, 3], [12], [0] * 12], Generation(end=(9,), most=12), 5, inputs)
    assert written == [[8, 9], [4, 5, 6, 7, 8], [13, 14, 15, 16, 17], []]
    assert sent == [3, 3, 2, 2, 2]
