"""ONNX files with states, batches on other axes or maps are served by one command, and answer as they came."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from clients import connect
from serving.commands.publish import main as publish
from serving.repository.configuration import parse, render
from serving.server.server import Server
from tests.support.calls import PROTOCOLS, infer
from tests.support.changed_models import COUNTER, ONE_ROW, TIME_FIRST, VAD, classifier, parsed

SEQUENCES, STEPS = 2, 6
FIRST = np.array([3, -4], np.float32)
MODELS = {
    "vad": (parsed(VAD), ["--state", "state=stateN", "--fix", "sr=16000"]),
    "alone": (parsed(VAD), ["--state", "state=stateN"]),
    "one_row": (parsed(ONE_ROW), ["--state", "h=hn"]),
    "counter": (parsed(COUNTER), ["--state", "kept=next", "--control", "begins=start", "--initial-state", "FIRST"]),
    "time_first": (parsed(TIME_FIRST), ["--batch-axis", "x=1", "--batch-axis", "y=1"]),
    "iris": (classifier("setosa", "versi color", "virginica"), []),
}
# Model -> what a request carries, what is looked at, what the file as it came gets beside that, and begins with.
STREAMS: dict[str, tuple[str, str, dict[str, np.ndarray], dict[str, np.ndarray]]] = {
    "vad": ("input", "output", {"sr": np.array(16000)}, {"state": np.zeros((2, 1, 4), np.float32)}),
    "alone": ("input", "output", {"sr": np.array(16000)}, {"state": np.zeros((2, 1, 4), np.float32)}),
    "one_row": ("x", "y", {}, {"h": np.zeros((2, 1, 3), np.float32)}),
}
STATES = {"state": "stateN", "h": "hn"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file as it came, and `models` with all of them published by the command."""
    folder = tmp_path_factory.mktemp("changed")
    np.savez(folder / "first.npz", kept=FIRST)
    for name, (model, flags) in MODELS.items():
        file = folder / f"{name}.onnx"
        onnx.save(model, file)
        words = [str(folder / "first.npz") if word == "FIRST" else word for word in flags]
        assert publish([str(file), "--name", name, *words, "--repository", str(folder / "models")]) == 0
        config_file = folder / "models" / name / "config.pbtxt"
        config = parse(config_file.read_text())
        config.instance_group[0].count = 1  # a process less to start
        config_file.write_text(render(config))
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


def by_hand(file: Path, name: str, steps: np.ndarray) -> list[np.ndarray]:
    """The answers of the file as it came, its states handed from run to run."""
    given, answered, constant, states = STREAMS[name]
    session = onnxruntime.InferenceSession(file)
    answers = []
    for step in steps:
        wanted = [answered, *(STATES[state] for state in states)]
        answer, *after = session.run(wanted, {given: step, **constant, **states})
        states = dict(zip(states, after, strict=True))
        answers.append(answer)
    return answers


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", STREAMS)
def test_two_interleaved_sequences_are_those_by_hand(name: str, protocol: Any, folder: Path, server: Server) -> None:
    given, answered, constant, _ = STREAMS[name]
    width = 3 if name == "one_row" else 5
    sent = np.random.default_rng(1).standard_normal((SEQUENCES, STEPS, 1, width)).astype(np.float32)
    expected = [by_hand(folder / f"{name}.onnx", name, steps) for steps in sent]
    further = {} if name != "alone" else {key: array.reshape(1) for key, array in constant.items()}
    with connect(server.http if protocol == "http" else server.grpc, protocol) as client:
        sequences = [client.sequence(name) for _ in range(SEQUENCES)]
        for step in range(STEPS):
            for number, sequence in enumerate(sequences):
                answer = sequence.infer({given: sent[number, step], **further}, last=step == STEPS - 1)[answered]
                np.testing.assert_allclose(answer, expected[number][step], 1e-5, 1e-6)
    # Another state would be seen: the same request is answered otherwise at another step.
    again = by_hand(folder / f"{name}.onnx", name, sent[0, ::-1])
    assert np.abs(again[0] - expected[0][-1]).max() > 1e-3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_sequence_is_told_that_it_begins(protocol: Any, server: Server) -> None:
    """The first answer shows the first value that was given, the second that the control has reset what is kept."""
    ones = np.ones((1, 2), np.float32)
    with connect(server.http if protocol == "http" else server.grpc, protocol) as client:
        for _ in range(2):
            answers: list[np.ndarray] = []
            with client.sequence("counter", id=f"again {protocol}") as sequence:
                for step in range(3):
                    answers += [*sequence.infer({"x": ones}, last=step == 2)["y"]]
                np.testing.assert_array_equal(np.stack(answers), np.stack([FIRST + 1, [2, 2], [3, 3]]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_batch_comes_first(protocol: str, folder: Path, server: Server) -> None:
    x = np.random.default_rng(2).standard_normal((7, 5, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(folder / "time_first.onnx")
    y, last = session.run(["y", "last"], {"x": np.moveaxis(x, 0, 1)})
    answers = infer(server, protocol, "time_first", {"x": x})
    np.testing.assert_allclose(answers["y"], np.moveaxis(y, 1, 0), 1e-5, 1e-6)
    np.testing.assert_allclose(answers["last"], last, 1e-5, 1e-6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_maps_are_columns_and_their_keys_are_classes(protocol: Any, folder: Path, server: Server) -> None:
    x = np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32)
    label, maps = onnxruntime.InferenceSession(folder / "iris.onnx").run(None, {"X": x})
    answers = infer(server, protocol, "iris", {"X": x})
    np.testing.assert_allclose(answers["output_probability"], [list(one.values()) for one in maps], 1e-5, 1e-6)
    assert [name.decode() for name in answers["output_label"].ravel()] == list(label)
    with connect(server.http if protocol == "http" else server.grpc, protocol) as client:
        (best,) = client.classify("iris", {"X": x[:1]}, "output_probability", count=1)[0]
        assert best.label == label[0]
