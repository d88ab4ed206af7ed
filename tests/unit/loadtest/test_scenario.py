from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.scenario import ScenarioError, read_scenario

EXAMPLE = Path("tests/load/scenarios/mix.yaml")
SMALL: dict[str, Any] = {"duration": "10s", "rate": 10, "models": {"cnn": {"weight": 1}}}


def written(folder: Path, content: Any) -> Path:
    path = folder / "mix.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    read_scenario.cache_clear()
    return path


def test_the_example_is_right() -> None:
    scenario = read_scenario(EXAMPLE)
    assert [part.model for part in scenario.parts] == ["cnn", "resnet", "lstm", "autoencoder", "gan", "lstm_stream"]
    assert sum(scenario.share(part) for part in scenario.parts) == pytest.approx(1)
    assert scenario.protocols == ["grpc", "http"]
    assert (scenario.rate_at(-1), scenario.rate_at(5), scenario.rate_at(15), scenario.rate_at(25)) == (40, 40, 60, 80)
    assert (scenario.rate_at(30), scenario.rate_at(31.9), scenario.rate_at(32)) == (160, 160, 80)
    assert (scenario.rate_at(55), scenario.highest) == (50, 160)


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, SMALL))
    assert (scenario.warmup_s, scenario.seed, scenario.check, scenario.users) == (1.0, 0, 1.0, 256)
    assert (scenario.parts[0].batches, scenario.parts[0].protocols, scenario.parts[0].stream) == (
        {1: 1.0},
        {"http": 1.0},
        None,
    )


def models(**fields: Any) -> dict[str, Any]:
    return {"models": {"cnn": {"weight": 1} | fields}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"speed": 3}, "mix.yaml: unknown field 'speed', known are: check, duration"),
        ({"rate": None}, "rate must be a number above 0, got None"),
        ({"rate": -1}, "rate must be a number above 0, got -1"),
        ({"rate": 0}, "rate must be a number above 0, got 0"),
        ({"rate": True}, "rate must be a number above 0, got True"),
        ({"rate": float("nan")}, "rate must be a number above 0, got nan"),
        ({"rate": float("inf")}, "rate must be a number above 0, got inf"),
        ({"rate": "fast"}, "rate must be a number above 0, got 'fast'"),
        ({"duration": "soon"}, "duration must be a time above 0, got 'soon'|duration must be a time, in seconds or as"),
        ({"duration": 0}, "duration must be a time above 0, got 0"),
        ({"warmup": -1}, "warmup must be a time, in seconds or as 20s, 2m, 1h30m, got -1"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"check": 2}, "check must be a share from 0 to 1, got 2"),
        ({"users": 0}, "users must be a whole number above 0, got 0"),
        ({"ramps": {"start": 1}}, "ramps must be a list"),
        ({"ramps": [{"start": 0, "end": 5}]}, "ramps, number 1: field 'rate' is missing"),
        ({"ramps": [{"start": 0, "end": 5, "to": 1}]}, "ramps, number 1: unknown field 'to'"),
        ({"ramps": [{"start": 5, "end": 5, "rate": 1}]}, r"ramps, number 1: end must be after start \(5s\)"),
        ({"spikes": [{"start": 5, "end": 11, "rate": 1}]}, r"not after the duration \(10s\), got 11"),
        ({"spikes": [{"start": 5, "end": 6, "rate": -1}]}, "spikes, number 1: rate must be a number, 0 or more"),
        (
            {"spikes": [{"start": 1, "end": 4, "rate": 1}, {"start": 3, "end": 5, "rate": 1}]},
            "spikes: number 2 must start at or after the end of the one above",
        ),
        ({"models": {}}, "models must be models with their fields, one at least"),
        ({"models": {"cnn": None}}, "models: cnn: expected fields"),
        ({"models": {"cnn": {}}}, "models: cnn: field 'weight' is missing"),
        (models(weight=-2), "models: cnn: weight must be a number above 0, got -2"),
        (models(batch={0: 1}), "models: cnn: batch must be a number of items"),
        (models(batch={1: -1}), "models: cnn: batch must be a number of items"),
        (models(batch={1: 0}), "models: cnn: batch must be a number of items"),
        (models(batch="8"), "models: cnn: batch must be a number of items"),
        (models(protocol="soap"), "models: cnn: protocol must be http, grpc or weights"),
        (models(protocol={"http": "x"}), "models: cnn: protocol must be http, grpc or weights"),
        (models(protocol=["http"]), "models: cnn: protocol must be http, grpc or weights"),
        (models(stream={"length": 4}), "models: cnn: stream: field 'interval' is missing"),
        (models(stream={"length": 0, "interval": 0, "answers_of": "lstm"}), "stream: length must be a whole number"),
        (
            models(stream={"length": 4, "interval": 0, "answers_of": "lstm"}, batch=2),
            "batch must be left out of a stream",
        ),
    ],
)
def test_every_field_is_checked(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = written(tmp_path, SMALL | changes)
    with pytest.raises(ScenarioError, match=words) as caught:
        read_scenario(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate: [", "is no YAML"),
        ("", "expected fields"),
        ("- 1", "expected fields"),
        ("rate: 1\nrate: 2", "'rate' stands twice in line 1 and after"),
        ("models: {cnn: {weight: 1}, cnn: {weight: 2}}", "'cnn' stands twice"),
        ("? [1]\n: 2", "is no YAML|unhashable|unknown field"),
    ],
)
def test_what_is_no_scenario_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        read_scenario(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"cannot read .*none\.yaml: No such file"):
        read_scenario(tmp_path / "none.yaml")
    with pytest.raises(ScenarioError, match=r"cannot read .*: Is a directory"):
        read_scenario(tmp_path)
