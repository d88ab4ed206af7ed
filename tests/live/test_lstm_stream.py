"""lstm_stream, a character a request with its state on the server, answers what lstm answers for the whole prefix."""

import queue
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from clients import ClientError, Refused, WrongKind, WrongTensor, connect
from clients.text import CharacterModel, CharacterStream
from conch.report import score
from serving.repository.configuration import parse, render
from serving.server.server import Server
from tests.support.calls import PROTOCOLS

MODEL = "lstm_stream"
SEQUENCES, CHARACTERS = 200, 24
IDLE_SECONDS = 1.0
PLACES = 2  # sequences that an instance of the model "crowded" may have under way
ANSWER_SECONDS = 60
# As the export's of float32: the same sums in batches of other sizes.
ABSOLUTE, RELATIVE = 1e-5, 1e-4

Ids = list[int | str]


@pytest.fixture(scope="module")
def limited(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of copies of the model: "hasty" forgets sequences soon, "crowded" has few places, "direct" slots."""
    repository = tmp_path_factory.mktemp("limited") / "models"
    for name in ("hasty", "crowded", "direct"):
        shutil.copytree(artifacts / "models" / MODEL, repository / name)
        file = repository / name / "config.pbtxt"
        config = parse(file.read_text())
        config.name = name
        batching = config.sequence_batching
        if name == "hasty":
            batching.max_sequence_idle_microseconds = int(IDLE_SECONDS * 1e6)
        elif name == "crowded":
            batching.oldest.max_candidate_sequences = PLACES
        else:
            batching.direct.SetInParent()
        assert config.instance_group[0].count == 2
        file.write_text(render(config))
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def tokens(artifacts: Path) -> np.ndarray:
    """Texts of random characters, int64 [SEQUENCES, CHARACTERS]: no two begin alike for long."""
    labels = (artifacts / "models" / MODEL / "labels.txt").read_text().splitlines()
    return np.random.default_rng(0).integers(0, len(labels), (SEQUENCES, CHARACTERS))


@pytest.fixture(scope="module")
def expected(triton: Server, tokens: np.ndarray) -> np.ndarray:
    """What the stateless model answers after each prefix, float32 [SEQUENCES, CHARACTERS, vocabulary]."""
    with connect(triton.grpc, "grpc") as client:
        parts = [client.infer("lstm", {"tokens": part})["probabilities"] for part in np.split(tokens, 10)]
    return np.concatenate(parts)


class Streams:
    """One gRPC stream that carries many sequences; Triton answers in the order of the requests."""

    def __init__(self, server: Server, model: str) -> None:
        self.model = model
        self.answers: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
        self.client = tritonclient.grpc.InferenceServerClient(server.grpc)

    def __enter__(self) -> "Streams":
        self.client.start_stream(lambda result, error: self.answers.put((result, error)))
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_stream()
        self.client.close()

    def send(self, label: str, token: int, id: int | str, start: bool = False, end: bool = False) -> None:
        """Send one request; its answer bears `label`."""
        tensor = tritonclient.grpc.InferInput("token", [1, 1], "INT64")
        tensor.set_data_from_numpy(np.array([[token]]))
        self.client.async_stream_infer(
            self.model, [tensor], request_id=label, sequence_id=id, sequence_start=start, sequence_end=end
        )

    def receive(self) -> tuple[str, np.ndarray]:
        """The next answer: its label and its probabilities."""
        result, error = self.answers.get(timeout=ANSWER_SECONDS)
        if error is not None:
            raise error
        return result.get_response().id, result.as_numpy("probabilities")[0]


def interleave(server: Server, model: str, tokens: np.ndarray, seed: int, vocabulary: int) -> np.ndarray:
    """Send the characters of all texts in random order between texts; the answers [texts, characters, vocabulary]."""
    texts, characters = tokens.shape
    order = np.repeat(np.arange(texts), characters)
    np.random.default_rng(seed).shuffle(order)
    position = [0] * texts
    answers = np.full((texts, characters, vocabulary), np.nan, np.float32)
    with Streams(server, model) as streams:
        for text in order:
            place = position[text]
            position[text] += 1
            # Half of the sequences have numbers and half have names, and no number is another's name.
            id = int(text) + 1 if text % 2 else f"text {text}"
            streams.send(f"{text} {place}", tokens[text, place], id, place == 0, place == characters - 1)
        for _ in order:
            label, probabilities = streams.receive()
            text, place = map(int, label.split())
            answers[text, place] = probabilities
    return answers


def test_200_interleaved_sequences_over_grpc(triton: Server, tokens: np.ndarray, expected: np.ndarray) -> None:
    answers = interleave(triton, MODEL, tokens, seed=1, vocabulary=expected.shape[2])
    np.testing.assert_allclose(answers, expected, RELATIVE, ABSOLUTE)
    # The test would see another's state: the same characters after another beginning are answered otherwise.
    assert np.abs(expected - np.roll(expected, 1, axis=0)).max(axis=(1, 2)).min() > 100 * ABSOLUTE


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_interleaved_sequences_of_a_client(
    triton: Server, protocol: Any, tokens: np.ndarray, expected: np.ndarray
) -> None:
    """A request at a time, each sequence ended by its last one; over gRPC and HTTP."""
    texts, characters = 20, 10
    order = np.repeat(np.arange(texts), characters)
    np.random.default_rng(2).shuffle(order)
    position = [0] * texts
    with connect(triton.http if protocol == "http" else triton.grpc, protocol) as client:
        # Text as an id over both protocols as well.
        sequences = [client.sequence(MODEL, f"of {protocol} {text}" if text % 2 else None) for text in range(texts)]
        for text in order:
            place = position[text]
            position[text] += 1
            inputs = {"token": tokens[text, place].reshape(1, 1)}
            answer = sequences[text].infer(inputs, last=place == characters - 1)["probabilities"][0]
            np.testing.assert_allclose(answer, expected[text, place], RELATIVE, ABSOLUTE)


def test_requests_of_different_sequences_share_runs(triton: Server, tokens: np.ndarray) -> None:
    def counts() -> tuple[int, int]:
        with tritonclient.grpc.InferenceServerClient(triton.grpc) as client:
            found = client.get_inference_statistics(MODEL, as_json=True)["model_stats"][-1]
        return int(found.get("inference_count", 0)), int(found.get("execution_count", 0))

    before = counts()
    with Streams(triton, MODEL) as streams:
        for round in range(10):
            for text in range(100):
                streams.send("", tokens[text, round], 1000 + text, start=round == 0, end=round == 9)
        for _ in range(1000):
            streams.receive()
    requests, runs = (after - first for after, first in zip(counts(), before, strict=True))
    assert requests == 1000
    assert runs < 500


def test_a_sequence_that_has_ended_is_not_continued(triton: Server, tokens: np.ndarray, expected: np.ndarray) -> None:
    with Streams(triton, MODEL) as streams:
        for place, end in ((0, False), (1, True)):
            streams.send("", tokens[0, place], 77, start=place == 0, end=end)
            streams.receive()
        streams.send("", tokens[0, 2], 77)
        with pytest.raises(InferenceServerException, match=r"sequence 77 .* must specify the START flag"):
            streams.receive()
        # The id may be used again, and begins anew.
        streams.send("", tokens[3, 0], 77, start=True, end=True)
        np.testing.assert_allclose(streams.receive()[1], expected[3, 0], RELATIVE, ABSOLUTE)


def test_start_in_the_middle_begins_anew(triton: Server, tokens: np.ndarray, expected: np.ndarray) -> None:
    with Streams(triton, MODEL) as streams:
        for text, last in ((4, 5), (5, 6)):
            for place in range(last):
                streams.send("", tokens[text, place], "again", start=place == 0, end=text == 5 and place == last - 1)
                np.testing.assert_allclose(streams.receive()[1], expected[text, place], RELATIVE, ABSOLUTE)


def test_an_idle_sequence_is_not_continued(limited: Server, tokens: np.ndarray, expected: np.ndarray) -> None:
    with Streams(limited, "hasty") as streams:
        for place in range(3):
            streams.send("", tokens[0, place], "idle", start=place == 0)
            np.testing.assert_allclose(streams.receive()[1], expected[0, place], RELATIVE, ABSOLUTE)
        time.sleep(1.5 * IDLE_SECONDS)
        streams.send("", tokens[0, 3], "idle")
        with pytest.raises(InferenceServerException, match=r"sequence '?idle'? ") as refused:
            streams.receive()
        assert re.search("is not under way|must specify the START flag", str(refused.value))
        streams.send("", tokens[6, 0], "idle", start=True)
        np.testing.assert_allclose(streams.receive()[1], expected[6, 0], RELATIVE, ABSOLUTE)
        streams.send("", tokens[6, 1], "idle", end=True)
        np.testing.assert_allclose(streams.receive()[1], expected[6, 1], RELATIVE, ABSOLUTE)


def test_as_many_as_there_are_places_and_further_ones_wait(
    limited: Server, tokens: np.ndarray, expected: np.ndarray
) -> None:
    """Two instances with two places each: four sequences live at once, so each instance has two, a fifth waits."""
    live = 2 * PLACES

    def step(place: int, texts: range, end: bool = False) -> None:
        for text in texts:
            streams.send(f"{text}", tokens[text, place], text + 1, start=place == 0, end=end)
        for _ in texts:
            label, probabilities = streams.receive()
            np.testing.assert_allclose(probabilities, expected[int(label), place], RELATIVE, ABSOLUTE)

    # A stream of its own for the fifth: on that of the others, their answers would have to wait for its own.
    with Streams(limited, "crowded") as streams, Streams(limited, "crowded") as patient:
        step(0, range(live))
        patient.send("fifth", tokens[live, 0], "fifth", start=True, end=True)
        for place in range(1, 6):
            step(place, range(live))
        assert patient.answers.empty()
        step(6, range(1), end=True)
        np.testing.assert_allclose(patient.receive()[1], expected[live, 0], RELATIVE, ABSOLUTE)
        step(6, range(1, live), end=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("last", [False, True])
def test_a_tensor_the_client_refused_keeps_no_place(limited: Server, protocol: Any, last: bool) -> None:
    """More sequences than there are places, one after the other: a place that is kept lets a later one wait for it."""
    token = {"token": np.zeros((1, 1), np.int64)}
    with connect(limited.http if protocol == "http" else limited.grpc, protocol, timeout=ANSWER_SECONDS / 4) as client:
        for _ in range(2 * PLACES + 1):
            with client.sequence("crowded") as sequence:
                sequence.infer(token)
                with pytest.raises(WrongTensor, match="FP32"):
                    sequence.infer({"token": np.zeros((1, 1), np.float32)}, last=last)


def test_the_other_strategy_of_triton_gives_the_same(limited: Server, tokens: np.ndarray, expected: np.ndarray) -> None:
    """`direct` fills the batch up with requests of no sequence, which must not touch anybody's state."""
    texts = 40
    answers = interleave(limited, "direct", tokens[:texts], seed=3, vocabulary=expected.shape[2])
    np.testing.assert_allclose(answers, expected[:texts], RELATIVE, ABSOLUTE)


def test_a_request_that_fails_leaves_the_state_and_its_neighbours_alone(
    triton: Server, tokens: np.ndarray, expected: np.ndarray
) -> None:
    with connect(triton.http) as client, client.sequence(MODEL) as one, client.sequence(MODEL) as other:
        for place in range(3):
            for text, sequence in ((0, one), (1, other)):
                answer = sequence.infer({"token": tokens[text, place].reshape(1, 1)})["probabilities"][0]
                np.testing.assert_allclose(answer, expected[text, place], RELATIVE, ABSOLUTE)
            with pytest.raises(Refused, match=r"idx=100000"):
                one.infer({"token": np.array([[100_000]])})


def test_requests_outside_of_sequences_are_refused(triton: Server) -> None:
    token = {"token": np.zeros((1, 1), np.int64)}
    with connect(triton.http) as client:
        with pytest.raises(WrongKind, match=r"keeps a state on the server: call it through Client\.sequence"):
            client.infer(MODEL, token)
        with pytest.raises(WrongTensor, match="a request of a sequence has one item, got a batch of 2"):
            client.sequence(MODEL).infer({"token": np.zeros((2, 1), np.int64)})
        with pytest.raises(WrongKind, match="lstm keeps no state"):
            client.sequence("lstm")
        with pytest.raises(ClientError, match="no model 'none'"):
            client.sequence("none")
    tensor = tritonclient.grpc.InferInput("token", [1, 1], "INT64")
    tensor.set_data_from_numpy(token["token"])
    with (
        tritonclient.grpc.InferenceServerClient(triton.grpc) as bare,
        pytest.raises(InferenceServerException, match="non-zero or non-empty correlation ID"),
    ):
        bare.infer(MODEL, [tensor])


def test_a_text_written_a_character_a_request_is_the_same(triton: Server) -> None:
    with connect(triton.http) as client:
        whole, stream = CharacterModel(client, "lstm"), CharacterStream(client, MODEL)
        assert stream.vocabulary == whole.vocabulary
        for seed in range(3):
            assert "".join(stream.sample("The ", 40, seed)) == "".join(whole.sample("The ", 40, seed))
        first = stream.next_probabilities(stream.encode("The "))
        np.testing.assert_allclose(first, whole.next_probabilities(whole.encode("The ")), RELATIVE, ABSOLUTE)


def test_the_live_score_of_the_chain_is_the_onnx_file_s(triton: Server, artifacts: Path) -> None:
    with connect(triton.http) as client:
        (result,) = score.score_others(client, "lstm")
    assert result["model"] == MODEL
    assert result["differences"] == []
    assert (artifacts / "report" / "live" / f"{MODEL}.json").is_file()
    assert MODEL not in score.variants()
