"""`conch train list` shows what is there, and what is wrong with it."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conch.contracts.fingerprint import sha256_of_file
from training.catalogue import SHIPPED
from training.commands.listing import _age, main


def write_checkpoint(artifacts: Path, name: str, **changes: object) -> Path:
    folder = artifacts / "checkpoints" / name
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(name.encode() * 1000)
    manifest = {
        "settings": {},
        "fingerprint": "f",
        "data": {"name": "digits"},
        "score": [{"name": "accuracy", "value": 98.59, "unit": "%", "higher_is_better": True, "floor": 98.0}],
        "created": datetime.now(UTC).isoformat(),
        "sha256": {"weights": sha256_of_file(folder / "weights.safetensors")},
        "run": {"accelerator": "cpu", "devices": 2, "nodes": 1, "precision": "bf16-mixed", "compile": False},
        "examples_per_second": 1234.5,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def test_a_checkpoint_is_shown_with_its_score_and_floor(
    artifacts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    digest = sha256_of_file(write_checkpoint(artifacts, "cnn") / "weights.safetensors")
    (artifacts / "checkpoints" / ".cnn.state").write_text("no checkpoint")
    assert main([]) == 0
    shown = capsys.readouterr().out
    for word in ("cnn", "digits", "accuracy 98.59 % (at least 98)", digest[:12], "3.0 kB", "2 processes, bf16-mixed"):
        assert word in shown
    assert ".cnn.state" not in shown


def test_programs_get_all_of_it_as_json(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(artifacts, "cnn")
    write_checkpoint(artifacts, "cnn.below-floor")
    assert main(["--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["damage"], first["bytes"], first["examples_per_second"]) == ("cnn", None, 3000, 1234.5)
    assert first["score"][0]["floor"] == 98.0
    assert second["name"] == "cnn.below-floor"


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), "the sha256 of its weights is"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "weights.safetensors: No such file"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "manifest.json").unlink(), "no checkpoint in"),
        (
            lambda folder: (folder / "manifest.json").write_text(
                '{"settings": {}, "fingerprint": "", "sha256": {"weights": ""}}'
            ),
            "its manifest.json is not one of a checkpoint (KeyError: 'data')"
        ),
    ],
)  # fmt: skip
def test_a_damaged_one_is_listed_with_the_reason(
    damage: object, why: str, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(artifacts, "lstm")
    assert callable(damage)
    damage(write_checkpoint(artifacts, "cnn"))
    if "KeyError" in why:
        (artifacts / "checkpoints" / "cnn" / "weights.safetensors").write_bytes(b"")
        why = "its manifest.json is not one of a checkpoint"
    assert main([]) == 1
    shown = capsys.readouterr().out
    assert "cnn is damaged: " in shown
    assert why in shown
    assert "lstm is damaged" not in shown


def test_an_empty_folder_says_what_to_do(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "make one with: conch train cnn" in " ".join(capsys.readouterr().out.split())
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.slow
def test_recipes_are_listed_with_what_they_serve_and_their_floor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--recipes"]) == 0
    shown = capsys.readouterr().out
    assert "features -> value" in shown
    assert "accuracy 96 (breast-cancer)" in shown
    assert main(["--recipes", "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(found) == set(SHIPPED)
    assert all(one["about"] and one["serves"] and one["floors"] for one in found.values())
    assert (found["cnn"]["learns_by"], found["elm"]["learns_by"]) == ("gradient descent", "least squares")
    assert (found["cnn"]["family"], found["mlp"]["family"]) == ("", "classic")


@pytest.mark.slow
def test_no_recipe_is_called_list_and_the_command_needs_no_torch(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import subprocess

    assert "list" not in SHIPPED
    program = (
        "import sys; sys.argv = ['training', 'list']; import training.__main__ as command; code = command.main(); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False).returncode == 0


def test_ages_are_rounded_down_to_one_unit() -> None:
    def age(**passed: float) -> str:
        return _age((datetime.now(UTC) - timedelta(**passed)).isoformat())

    assert [age(seconds=5), age(minutes=1.5), age(hours=5), age(days=1.9)] == ["now", "1 minute", "5 hours", "1 day"]
