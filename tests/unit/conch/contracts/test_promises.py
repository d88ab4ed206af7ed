from pathlib import Path

import pytest

from conch.contracts.promises import Known, Promise, PromiseError, promise_files, read_promises
from loadtest.latency import interval_ranks

PROMISE = Promise(rate=100, error_rate=0.01, p50_ms=10, p95_ms=20, p99_ms=30)


def test_the_promises_of_this_project_are_right() -> None:
    promises = read_promises([Path(__file__).parents[3] / "load" / "promises.yaml"]).promises
    assert {"cnn", "resnet", "lstm", "autoencoder", "gan"} <= set(promises)
    # The demo's 8 s: four standard deviations fewer requests than planned still have a p99.
    for promise in promises.values():
        planned = promise.rate * 8
        assert interval_ranks(int(planned - 4 * planned**0.5), 0.99)[1] is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cnn: {rate: 50, error_rate: 0, p90_ms: 3}", "cnn: unknown 'p90_ms', known are: rate, error_rate, p50_ms"),
        ("cnn: {rate: 50}", "cnn: 'error_rate' is missing"),
        ("cnn: {rate: 0, error_rate: 0}", "cnn: rate must be a number above 0, got 0"),
        ("cnn: {rate: fast, error_rate: 0}", "rate must be a number above 0, got 'fast'"),
        ("cnn: {rate: 1, error_rate: 2}", "error_rate must be a share from 0 to 1, got 2"),
        ("cnn: {rate: 1, error_rate: true}", "error_rate must be"),
        ("cnn: 7", "cnn: expected rate, error_rate"),
        ("[]", "expected models"),
        ("cnn: {", "is no YAML"),
    ],
)
def test_wrong_entry_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "promises.yaml"
    path.write_text(text)
    with pytest.raises(PromiseError, match=words):
        read_promises([path]).of("cnn")


def test_missing_file_and_unknown_model_are_said(tmp_path: Path) -> None:
    with pytest.raises(PromiseError, match="No such file"):
        read_promises([tmp_path / "none.yaml"])
    with pytest.raises(PromiseError, match="nothing about 'vit'; it knows: cnn"):
        Known((tmp_path / "promises.yaml",), {"cnn": PROMISE}, {}).of("vit")


def test_own_files_come_before_that_of_the_shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    monkeypatch.chdir(tmp_path)
    (artifacts / "promises.yaml").write_text("cnn: {rate: 2, error_rate: 0}\nshapes: {rate: 3, error_rate: 0}\n")
    (tmp_path / "promises.yaml").write_text("cnn: {rate: 1, error_rate: 0}\n")
    known = read_promises(promise_files(None, artifacts))
    assert (known.of("cnn").rate, known.of("shapes").rate, known.of("resnet").rate) == (1, 3, 60)
    assert promise_files(Path("mine.yaml"), artifacts) == [Path("mine.yaml")]


def test_a_wrong_entry_stops_its_own_model_only(tmp_path: Path) -> None:
    path = tmp_path / "promises.yaml"
    path.write_text("cnn: {rate: 0, error_rate: 0}\nvit: {rate: 5, error_rate: 0}\n")
    known = read_promises([path])
    assert known.of("vit").rate == 5
    with pytest.raises(PromiseError, match="cnn: rate must be a number above 0"):
        known.of("cnn")
