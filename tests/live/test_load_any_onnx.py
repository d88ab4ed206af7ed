"""The load test, `tune` and the report on models unlike the five: without a batch axis, of text, of infinities, of
states that were added to config.pbtxt by hand."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import parser

from conch.report.evidence import gather
from serving.repository.configuration import parse, render
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support.foreign_models import HEADER
from tests.support.loads import assert_all_right, ended, load_everything, result, start, tune_measures

GRAPHS = {
    "words": "words (string[n] text) => (string[n] twice, bool[n] long) "
    '{ twice = StringConcat(text, text) long = RegexFullMatch<pattern = ".{4,}">(text) }',
    "policy": "policy (float[n, 6] scores, bool[n, 6] allowed) => (float[n, 6] logp) <float zero = {0}> "
    "{ none = Log(zero) masked = Where(allowed, scores, none) logp = LogSoftmax<axis = 1>(masked) }",
    "positives": "positives (float[k] x) => (int64[1, m] at) { above = Relu(x) at = NonZero(above) }",
    "total": "total (float[n, 4] x, float[n] weight) => (float[n] y) <int64[1] last = {1}> "
    "{ sum = ReduceSum<keepdims = 0>(x, last) y = Mul(sum, weight) }",
    "constant": "constant () => (uint64[2] y, float16 half) "
    "{ y = Constant<value = uint64[2] {18446744073709551615, 0}>() x = Constant<value_float = 0.5>() "
    "half = Cast<to = 10>(x) }",
    "dice": "dice (float[2, 3] x) => (float[2, 3] y) { y = RandomUniformLike(x) }",
    "sums": "sums (float[n, t] x) => (float[n, t] y) <int64 one = {1}> { y = CumSum(x, one) }",
    "running": "running (float[n] x, float[n, 1] begins, float[n, 1] sum_in) => (float[n] y, float[n, 1] sum_out) "
    "<float one = {1}, int64[1] last = {1}> { goes_on = Sub(one, begins) kept = Mul(sum_in, goes_on) "
    "column = Unsqueeze(x, last) sum_out = Add(kept, column) y = Squeeze(sum_out, last) }",
}
"""`running` says with a control input what `sums` answers step by step."""

BY_HAND = """
sequence_batching {
  oldest { max_candidate_sequences: 64 }
  control_input { name: "begins" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } }
  state { input_name: "sum_in" output_name: "sum_out" data_type: TYPE_FP32 dims: [1]
          initial_state { name: "zero" data_type: TYPE_FP32 dims: [1] zero_data: true } }
}
"""
TUNED = ("words", "positives", "total", "constant", "dice")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A Triton of the models, and the artifacts folder they are in."""
    folder = tmp_path_factory.mktemp("odd")
    for name, text in GRAPHS.items():
        onnx.save(parser.parse_model(HEADER + text), folder / f"{name}.onnx")
        publish_file(folder / f"{name}.onnx", name, folder / "models")
    add_states(folder / "models" / "running" / "config.pbtxt")
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server, folder


def add_states(config_file: Path) -> None:
    """As somebody does it with an editor: the states and the control leave the inputs and outputs."""
    config = parse(config_file.read_text())
    for entries, kept in ((config.input, "x"), (config.output, "y")):
        (entry,) = [entry for entry in entries if entry.name == kept]
        del entries[:]
        entries.append(entry)
    config.ClearField("dynamic_batching")
    config.ClearField("model_warmup")
    config_file.write_text(render(config) + BY_HAND)


def test_a_load_of_them_all_finds_every_answer_right(served: tuple[Server, Path]) -> None:
    """Those of `dice` are other ones each time: there is nothing to compare them with, which is said."""
    server, folder = served
    run = load_everything(server, folder, {"running": "sums"}, uncompared={"dice"})
    assert {part["model"] for part in run["parts"]} == set(GRAPHS)


@pytest.mark.parametrize("model", ["words", "policy", "positives"])
def test_a_load_of_one_is_kept(model: str, served: tuple[Server, Path], tmp_path: Path) -> None:
    server, folder = served
    (tmp_path / "promises.yaml").write_text(json.dumps({model: {"rate": 40, "error_rate": 0}}))
    flags = ("--promises", str(tmp_path / "promises.yaml"), "--protocol", "both", "--duration", "1s", "--warmup", "0s")
    _, text, run = result(start(server, folder, "run", model, *flags), folder / "report" / "load" / model)
    assert_all_right(run, {model}, text)
    (evidence,) = [one for one in gather(folder) if one.name == model]
    assert evidence.failures == []


def test_states_by_hand_are_asked_in_sequences_or_not_at_all(served: tuple[Server, Path], tmp_path: Path) -> None:
    server, folder = served
    (tmp_path / "promises.yaml").write_text(json.dumps({"running": {"rate": 40, "error_rate": 0}}))
    promises = ("--promises", str(tmp_path / "promises.yaml"))
    code, text = ended(start(server, folder, "run", "running", *promises))
    assert (code, "running keeps a state between requests: give it a stream in a scenario" in text) == (3, True), text
    stream = {"length": 5, "interval": 0.05, "answers_of": "sums"}
    models = {"running": {"weight": 1, "protocol": {"http": 1, "grpc": 1}, "stream": stream}}
    scenario = tmp_path / "running.yaml"  # by whose name the report finds it
    scenario.write_text(yaml.safe_dump({"duration": "2s", "warmup": "0s", "rate": 40, "models": models}))
    _, text, run = result(start(server, folder, "mix", str(scenario), *promises), folder / "report/load-mix/running")
    assert_all_right(run, {"running"}, text)
    (evidence,) = [one for one in gather(folder) if one.name == "running"]
    assert evidence.load is not None
    links = {link.name: link.intact for link in evidence.chain}
    assert links["golden answers"]
    assert not links["config"], "it was changed by hand"


def test_a_batch_that_a_model_does_not_take_is_refused_before_anything_is_sent(
    served: tuple[Server, Path], tmp_path: Path
) -> None:
    server, folder = served
    (tmp_path / "promises.yaml").write_text(json.dumps({"positives": {"rate": 40, "error_rate": 0}}))
    code, text = ended(
        start(server, folder, "run", "positives", "--batch", "2", "--promises", str(tmp_path / "promises.yaml"))
    )
    assert (code, text) == (3, "error: --batch 2: positives takes at most 1 in a request (max_batch_size)\n")


def test_a_configuration_changed_since_the_server_started_is_told(served: tuple[Server, Path], tmp_path: Path) -> None:
    server, _ = served
    own = tmp_path / "models" / "running"
    (own / "1").mkdir(parents=True)
    arrays = {f"inputs/{name}": np.ones((1, 1), np.float32) for name in ("x", "begins", "sum_in")}
    np.savez(own / "1" / "golden.npz", **arrays, **{"outputs/y": np.ones((1, 1), np.float32)})
    (tmp_path / "promises.yaml").write_text(json.dumps({"running": {"rate": 40, "error_rate": 0}}))
    code, text = ended(start(server, tmp_path, "run", "running", "--promises", str(tmp_path / "promises.yaml")))
    assert code == 3
    assert "the server has running with another sequence_batching, input than" in text


@pytest.mark.long
def test_tune_measures_them(served: tuple[Server, Path], tmp_path: Path) -> None:
    tune_measures(served[1] / "models", TUNED, tmp_path / "triton.log")
