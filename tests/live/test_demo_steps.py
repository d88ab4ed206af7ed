"""The demo's steps at small size: each against what the step before it left, all five models, one server."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from clients import connect
from conch.contracts.comparison import TOLERANCES, compare
from conch.report import score
from conch.report.__main__ import main as report
from conch.report.evidence import Evidence, gather
from serving.server.server import Server
from tests.support.loads import ROOT, ended, golden_of, start
from tests.support.trained import SMALL

MODELS = tuple(SMALL)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("model", MODELS)
def test_the_server_gives_the_golden_answers(model: str, protocol: str, artifacts: Path, triton: Server) -> None:
    with np.load(artifacts / "models" / model / "1" / "golden.npz") as golden:
        arrays = dict(golden)
    inputs = {key.removeprefix("inputs/"): array for key, array in arrays.items() if key.startswith("inputs/")}
    url = triton.http if protocol == "http" else triton.grpc
    with connect(url, protocol) as client:  # type: ignore[arg-type]
        for start, stop in ((0, 1), (1, 4), (4, 36)):
            answers = client.infer(model, {name: array[start:stop] for name, array in inputs.items()})
            for name, got in answers.items():
                expected = arrays[f"outputs/{name}"][start:stop]
                difference, agrees = compare(got, expected, TOLERANCES[got.dtype.name])
                assert agrees, f"{model} {name} rows {start}:{stop} differ by {difference}"


@pytest.mark.parametrize("model", MODELS)
def test_the_live_score_is_the_onnx_file_s(
    model: str, artifacts: Path, triton: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(triton.http) as client:
        result = score.score_one(client, model)
    assert result["differences"] == []
    assert json.loads((artifacts / "report" / "live" / f"{model}.json").read_text()) == result


def test_what_was_scored_is_not_scored_again_until_something_changes(
    artifacts: Path, triton: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(triton.http) as client:
        score.score_one(client, "cnn")
    monkeypatch.setattr(score, "score_one", lambda *_: pytest.fail("scored again"))
    assert score.score("cnn", url=triton.http, if_changed=True) == 0
    kept = artifacts / "report" / "live" / "cnn.json"
    text = kept.read_text()
    try:
        for key, other in {"fingerprint": "other code", "server": "triton 1", "differences": ["it was"]}.items():
            kept.write_text(json.dumps(json.loads(text) | {key: other}))
            with pytest.raises(pytest.fail.Exception, match="scored again"):
                score.score("cnn", url=triton.http, if_changed=True)
    finally:
        kept.write_text(text)


def test_a_server_that_scores_otherwise_is_told(artifacts: Path, triton: Server) -> None:
    manifest_file = artifacts / "models" / "cnn" / "1" / "manifest.json"
    text = manifest_file.read_text()
    manifest = json.loads(text)
    manifest["score"]["onnx"][0]["value"] += 0.3
    manifest_file.write_text(json.dumps(manifest))
    try:
        with connect(triton.http) as client:
            (sentence,) = score.score_one(client, "cnn")["differences"]
    finally:
        manifest_file.write_text(text)
    assert "accuracy is" in sentence


def test_the_report_holds_every_proof_and_breaks_with_a_changed_file(
    artifacts: Path, triton: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["conch.report"])
    with connect(triton.http) as client:
        for model in MODELS:
            score.score_one(client, model)
    assert report() == 1
    assert "affine: it was published without a parity grid" in capsys.readouterr().err
    page = (artifacts / "report" / "index.html").read_text()
    for model in MODELS:  # a page each, for the repository of the live tests has many
        assert f'href="models/{model}.html"' in page
        own = (artifacts / "report" / "models" / f"{model}.html").read_text()
        assert "http://" not in own.replace("http://www.w3.org/", "")

    evidence = {model.name: model for model in gather(artifacts)}
    assert evidence["cnn"].failures == []
    assert evidence["cnn"].missing == ["cnn: no load test"]
    for file in ("config.pbtxt", "1/model.onnx", "1/golden.npz"):
        path = artifacts / "models" / "cnn" / file
        path.rename(path.with_name("away"))
        failures = {model.name: model for model in gather(artifacts)}["cnn"].failures
        path.with_name("away").rename(path)
        assert any("is not what" in failure for failure in failures), file
    weights = artifacts / "checkpoints" / "cnn" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content + b"\0")
    try:
        assert {model.name: model for model in gather(artifacts)}["cnn"].failures == [
            "cnn: weights is not what the export used"
        ]
    finally:
        weights.write_bytes(content)


def test_sequences_under_load_are_a_link_of_the_chain(artifacts: Path, triton: Server, tmp_path: Path) -> None:
    own = golden_of(artifacts, tmp_path / "own", "lstm", "lstm_stream")
    demo = yaml.safe_load((ROOT / "tests" / "load" / "scenarios" / "lstm_stream.yaml").read_text())
    scenario = tmp_path / "lstm_stream.yaml"
    scenario.write_text(yaml.safe_dump(demo | {"duration": "2s", "warmup": "1s", "rate": 20}))
    code, text = ended(start(triton, own, "mix", str(scenario)))
    assert code <= 2, text  # how fast this machine is, is not the question

    def stream() -> Evidence:
        return {model.name: model for model in gather(own)}["lstm_stream"]

    assert [link.intact for link in stream().chain if link.name == "golden answers"] == [True]
    assert not any("no load test" in sentence for sentence in stream().missing)
    run = own / "report" / "load-mix" / "lstm_stream" / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"golden_sha256": "of others"}))
    assert "lstm_stream: the load test at hand is of other golden answers, those of another version" in stream().missing
