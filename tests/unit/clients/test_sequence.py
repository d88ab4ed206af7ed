"""A sequence marks its first and last request, and gives its place at the server back."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from clients.batches import batch_of
from clients.client import Client
from clients.documents import parse_metadata
from clients.errors import ClientError, Refused, WrongKind, WrongTensor
from clients.signature import Metadata
from clients.step import Step
from clients.text import CharacterModel, CharacterStream

LETTERS = ["a", "b", "c", "d"]


class Counting(Client):
    """A client of a model whose next character depends on all before it: the sum of the tokens, modulo four."""

    def __init__(self, stateful: bool = True) -> None:
        self.stateful = stateful
        self.steps: list[Step] = []
        self.sums: dict[int | str, int] = {}
        self.refuse = False
        self.interrupted = False
        self.tokens: list[int] = []

    def metadata(self, model: str, version: str = "", timeout: float | None = None) -> Metadata:
        shapes = ([-1, 1], [-1, 4]) if self.stateful else ([-1, -1], [-1, -1, 4])
        tensors = {
            "inputs": [{"name": "token", "datatype": "INT64", "shape": shapes[0]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": shapes[1]}],
        }
        config: dict[str, Any] = {"max_batch_size": 8} | ({"sequence_batching": {}} if self.stateful else {})
        return parse_metadata({"name": model} | tensors, config)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Iterable[str] | None = None,
        version: str = "",
        step: Step | None = None,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> dict[str, np.ndarray]:
        draw = np.random.default_rng
        if step is None:
            sums = np.cumsum(inputs["token"], axis=1)[0] % 4
            return {"probabilities": np.array([[draw(total).dirichlet(np.ones(4)) for total in sums]], np.float32)}
        batch_of(self.metadata(model), inputs)
        self.steps.append(step)
        self.tokens.append(int(inputs["token"][0, 0]))
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        if self.refuse:
            raise Refused("no")
        before = 0 if step.start else self.sums[step.id]
        self.sums[step.id] = (before + int(inputs["token"][0, 0])) % 4
        return {"probabilities": draw(self.sums[step.id]).dirichlet(np.ones(4)).astype(np.float32)[None]}


def token(number: int = 1) -> dict[str, np.ndarray]:
    return {"token": np.array([[number]])}


def test_the_first_request_starts_and_the_last_ends() -> None:
    client = Counting()
    sequence = client.sequence("lstm_stream")
    for last in (False, False, True):
        sequence.infer(token(), last=last)
    assert [(step.start, step.end) for step in client.steps] == [(True, False), (False, False), (False, True)]
    assert {step.id for step in client.steps} == {sequence.id}
    with pytest.raises(ClientError, match="has ended"):
        sequence.infer(token())


def test_sequences_have_ids_of_their_own_unless_given() -> None:
    client = Counting()
    ids = [client.sequence("lstm_stream").id for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(isinstance(number, int) and 0 < number < 2**63 for number in ids)
    assert client.sequence("lstm_stream", "mine").id == "mine"
    for wrong in (0, -1, 2**63, ""):
        with pytest.raises(ClientError, match="from 1 to"):
            client.sequence("lstm_stream", wrong)


def test_a_block_that_is_left_early_ends_its_sequence() -> None:
    client = Counting()
    with contextlib.suppress(KeyboardInterrupt), client.sequence("lstm_stream") as sequence:
        sequence.infer(token())
        raise KeyboardInterrupt
    assert [step.end for step in client.steps] == [False, True]
    with client.sequence("lstm_stream") as sequence:
        sequence.infer(token(), last=True)
    with client.sequence("lstm_stream"):
        pass
    assert len(client.steps) == 3


def test_a_refused_first_request_gives_its_place_back() -> None:
    client = Counting()
    client.refuse = True
    with pytest.raises(Refused), client.sequence("lstm_stream") as sequence:
        sequence.infer(token())
    assert [(step.start, step.end) for step in client.steps] == [(True, False), (True, True)]


WRONG = {"token": np.zeros((1, 1), np.float32)}


@pytest.mark.parametrize("last", [False, True])
def test_a_tensor_the_client_refuses_leaves_the_place_to_be_given_back(last: bool) -> None:
    client = Counting()
    with client.sequence("lstm_stream") as sequence:
        sequence.infer(token(1))
        sequence.infer(token(2))
        with pytest.raises(WrongTensor, match="FP32"):
            sequence.infer(WRONG, last=last)
    assert [(step.start, step.end) for step in client.steps] == [(True, False), (False, False), (False, True)]
    assert client.tokens == [1, 2, 2]


def test_after_a_tensor_the_client_refused_the_sequence_goes_on() -> None:
    client = Counting()
    with client.sequence("lstm_stream") as sequence:
        for place in range(3):
            with pytest.raises(WrongTensor):
                sequence.infer(WRONG, last=True)
            sequence.infer(token(place))
    assert [(step.start, step.end) for step in client.steps] == [(True, False), *[(False, False)] * 2, (False, True)]


def test_a_wrong_tensor_put_into_the_same_inputs_is_not_what_ends_the_sequence() -> None:
    client = Counting()
    inputs = token(3)
    with client.sequence("lstm_stream") as sequence:
        sequence.infer(inputs)
        inputs |= WRONG
        with pytest.raises(WrongTensor):
            sequence.infer(inputs)
    assert client.steps[-1].end
    assert client.tokens == [3, 3]


def test_nothing_is_sent_for_a_sequence_whose_only_request_the_client_refused() -> None:
    client = Counting()
    with pytest.raises(WrongTensor), client.sequence("lstm_stream") as sequence:
        sequence.infer(WRONG)
    assert client.steps == []


def test_a_first_request_that_was_refused_and_a_wrong_tensor_after_it() -> None:
    client = Counting()
    client.refuse = True
    with client.sequence("lstm_stream") as sequence:
        with pytest.raises(Refused):
            sequence.infer(token(1))
        with pytest.raises(WrongTensor):
            sequence.infer(WRONG)
    assert [(step.start, step.end) for step in client.steps] == [(True, False), (True, True)]


@pytest.mark.parametrize("last", [False, True])
def test_a_request_the_server_refused_or_that_was_broken_off_is_followed_by_the_end(last: bool) -> None:
    """Whether an end that got no answer was taken, nobody knows; one too many does no harm."""
    for wrong in ("refuse", "interrupted"):
        client = Counting()
        with client.sequence("lstm_stream") as sequence:
            sequence.infer(token(1))
            setattr(client, wrong, True)
            with pytest.raises((Refused, KeyboardInterrupt)):
                sequence.infer(token(2), last=last)
        assert [step.end for step in client.steps] == [False, last, True]
        assert client.tokens == [1, 2, 1]


def test_a_model_without_state_has_no_sequences() -> None:
    with pytest.raises(WrongKind, match="keeps no state"):
        Counting(stateful=False).sequence("lstm")
    with pytest.raises(WrongKind, match="keeps no state"):
        CharacterStream(Counting(stateful=False), "lstm")


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (CharacterModel, CharacterStream):
        monkeypatch.setattr(kind, "vocabulary", LETTERS)


@pytest.mark.parametrize("temperature", [0.0, 0.8, 2.0])
@pytest.mark.usefixtures("letters")
def test_a_stream_writes_the_same_text_as_whole_prefixes(temperature: float) -> None:
    streaming = Counting()
    streamed = "".join(CharacterStream(streaming, "lstm_stream").sample("badc", 50, 7, temperature))
    assert streamed == "".join(CharacterModel(Counting(stateful=False), "lstm").sample("badc", 50, 7, temperature))
    assert len(set(streamed)) > 1
    assert len(streaming.steps) == 4 + 50 - 1
    assert [index for index, step in enumerate(streaming.steps) if step.start] == [0]
    assert [index for index, step in enumerate(streaming.steps) if step.end] == [52]


@pytest.mark.usefixtures("letters")
def test_a_stream_reads_the_last_of_a_text_and_needs_some() -> None:
    client = Counting()
    stream = CharacterStream(client, "lstm_stream")
    assert list(stream.sample("abcd", 0)) == []
    list(stream.sample("abcdabcd", 1, context=3))
    assert len(client.steps) == 3
    with pytest.raises(ClientError, match="empty text"):
        next(stream.sample("", 1))
    with pytest.raises(ClientError, match="empty text"):
        stream.next_probabilities(np.array([], np.int64))


@pytest.mark.usefixtures("letters")
def test_a_stream_that_nobody_reads_on_is_ended() -> None:
    client = Counting()
    writing = CharacterStream(client, "lstm_stream").sample("ab", 50)
    next(writing)
    writing.close()
    assert client.steps[-1].end
    assert sum(step.end for step in client.steps) == 1
