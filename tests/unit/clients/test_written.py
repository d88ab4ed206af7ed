"""Models that write: what they wrote is read to its end, and texts become the tokens that they know."""

from collections.abc import Mapping
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from clients.errors import ClientError, WrongKind
from clients.signature import Classification, Metadata, TensorSpec
from clients.written import Translator, Writer, outputs_that_write, read

LABELS = ("\\u0000", "a", "b", "\\n")
MOST = 4
TOKENS = TensorSpec("tokens", "INT64", (-1, -1), batched=True)
IMAGE = TensorSpec("image", "UINT8", (-1, 8, 8, 1), batched=True)
WRITTEN = TensorSpec("text", "INT64", (-1, MOST), batched=True)
CHANCES = TensorSpec("chances", "FP32", (-1, MOST, len(LABELS)), batched=True)


def mirrored(tokens: np.ndarray) -> dict[str, np.ndarray]:
    """The text from its end, each character with a probability of a half."""
    written = np.zeros((len(tokens), MOST), np.int64)
    chances = np.full((len(tokens), MOST, len(LABELS)), 0.5, np.float32)
    for row, text in zip(written, tokens, strict=True):
        known = text[text != 0][::-1][:MOST]
        row[: len(known)] = known
    return {"text": written, "chances": chances}


def server(input: TensorSpec = TOKENS, labels: tuple[str, ...] = LABELS) -> Any:
    """One with a model that writes, and its two halves, of which the second writes "ab" whatever the text."""
    client = Mock()
    client.metadata.return_value = Metadata("m", ("1",), "", (input,), (WRITTEN, CHANCES), 8)
    entries = [Classification(index, label, 0.5) for index, label in enumerate((*labels, *[""] * 12))]
    client.classify.side_effect = lambda model, inputs, output, count: [entries[:count]]

    def infer(model: str, inputs: Mapping[str, np.ndarray], outputs: Any = None) -> dict[str, np.ndarray]:
        if model == "m":
            return mirrored(inputs["tokens"])
        if model == "m_encoder":
            return {"memory": inputs["tokens"], "first_state": np.zeros((len(inputs["tokens"]), 1), np.float32)}
        following = np.eye(len(LABELS), dtype=np.float32)[[1, 2, 0]][inputs["state"].astype(int)[:, 0] % 3]
        return {"probabilities": following, "next_state": inputs["state"] + 1}

    client.infer.side_effect = infer
    return client


def test_texts_of_different_lengths_share_a_request_and_are_read_to_their_end() -> None:
    client = server()
    translator = Translator(client, "m")
    assert translator.translate(["ab\n", "a"]) == [("\nba", 0.5**4), ("a", 0.5**2)]
    assert client.infer.call_count == 1
    assert translator.encode(["ab\n", "a"]).tolist() == [[1, 2, 3], [1, 0, 0]]
    assert client.classify.call_count == 1, "the labels are asked for once"


def test_decoding_stops_where_all_have_ended() -> None:
    client = server()
    assert Translator(client, "m").translate_stepwise(["b", "aa"]) == [("ab", 1.0)] * 2
    assert [call.args[0] for call in client.infer.call_args_list] == ["m_encoder", *["m_step"] * 3]


def test_a_full_row_has_no_end() -> None:
    assert read(np.array([1, 2]), np.full((2, 4), 0.5, np.float32), LABELS).labels == ("a", "b")


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ClientError, match=r"m has never seen: 'x'; it knows 'ab\\n'"):
        Translator(server(), "m").encode(["axb"])
    with pytest.raises(ClientError, match="an empty text"):
        Translator(server(), "m").encode([""])
    with pytest.raises(WrongKind, match="no label for some of its 4 tokens"):
        Writer(server(IMAGE, LABELS[:3]), "m").write({"tokens": np.ones((1, 1), np.int64)})
    with pytest.raises(WrongKind, match=r"one input INT64 \[batch, time\] and no other, it has: image"):
        Translator(server(IMAGE), "m")
    with pytest.raises(WrongKind, match="one character each"):
        Translator(server(labels=("(end)", "a", "b", "c")), "m").encode(["a"])
    with pytest.raises(WrongKind, match=r"m: needs INT64 \[batch, n\] and FP32 .* it has: text INT64"):
        outputs_that_write(Metadata("m", ("1",), "", (TOKENS,), (WRITTEN,), 8))
    scores = TensorSpec("scores", "FP32", (-1, MOST), batched=True)
    with pytest.raises(WrongKind, match="and nothing else"):
        outputs_that_write(Metadata("detector", ("1",), "", (IMAGE,), (CHANCES, WRITTEN, scores), 8))
