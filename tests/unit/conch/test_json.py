"""--json: every command that prints a table has it, and docs/json.md has the keys."""

import importlib
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conch.report.__main__ import main as report
from export.__main__ import main as export
from export.commands.check import main as check
from export.commands.documents import failure_document
from export.proof.prove import Proof
from export.publication.pipeline import ProofFailed
from serving.commands.tables import server_document
from serving.kserve.endpoint import ModelState
from serving.repository.foreign import publish_file
from tests.support import checked, graphs
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "json.md").read_text()
COMMANDS = {
    "training.commands.listing": "show",
    "export.commands.recipe": "Choices",
    "export.commands.module": "Choices",
    "export.commands.onnx_file": "Choices",
    "export.commands.explain": "show",
    "export.commands.check": "Choices",
    "serving.commands.serve": "serve",
    "serving.commands.status": "status",
    "serving.commands.rollout": "rollout",
    "serving.commands.rollback": "rollback",
    "serving.commands.history": "history",
    "serving.commands.lint": "lint",
    "serving.commands.tune": "tune",
    "clients.commands.status": "Status",
    "clients.commands.infer": "Infer",
    "clients.commands.classify": "Classify",
    "clients.commands.complete": "Complete",
    "clients.commands.drive": "Drive",
    "clients.commands.translate": "Translate",
    "clients.commands.watch": "Watch",
    "loadtest.sizing.command": "size",
    "conch.report.__main__": "report",
}
# What patches sockets for gevent is not imported here: its classes share one base.
LOADS = ("Run", "Mix", "Capacity", "Profile", "Soak", "Compare", "Promises")
# Who prints what they make is in COMMANDS or LOADS.
MAKERS = (
    "clients/terminal.py", "conch/report/summary.py", "export/commands/tables.py", "export/precision/table.py",
    "serving/commands/tables.py", "serving/kserve/first_touch.py", "serving/tune/report.py",
    "training/commands/recipe_listing.py",
)  # fmt: skip


@pytest.mark.parametrize(("module", "name"), COMMANDS.items())
def test_what_prints_a_table_takes_json(module: str, name: str) -> None:
    assert "json" in inspect.signature(getattr(importlib.import_module(module), name)).parameters


def test_no_table_is_printed_by_another_command() -> None:
    packages = ("conch", "training", "export", "serving", "clients", "loadtest")
    files = [file.relative_to(ROOT) for package in packages for file in (ROOT / package).rglob("*.py")]
    printing = {str(file) for file in files if re.search(r"\bTable(\.grid)?\(", (ROOT / file).read_text())}
    known = {f"{module.replace('.', '/')}.py" for module in COMMANDS} | set(MAKERS)
    assert {file for file in printing if not file.startswith("loadtest/")} <= known


@pytest.mark.parametrize("name", LOADS)
def test_every_load_takes_json(name: str) -> None:
    sources = "\n".join(file.read_text() for file in (ROOT / "loadtest").glob("*.py"))
    (bases,) = re.findall(rf"^class {name}\((\w+)\):", sources, re.MULTILINE)
    while bases != "Printing":
        (bases,) = re.findall(rf"^class {bases}\((\w+)\):", sources, re.MULTILINE)
    assert f"| `{name.lower()}` |" in PAGE


def documented(found: Any, section: str) -> set[str]:
    """The keys of an object, or of the first of a list, that a section of the page does not name."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return {key for key in (found[0] if isinstance(found, list) else found) if f"`{key}`" not in text}


def said(capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], int], *words: str) -> tuple[int, Any]:
    """The exit code and the document of a command; nothing else is on the standard output."""
    capsys.readouterr()
    code = command([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_export_explain_and_report_say_for_programs_what_they_show(
    tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_line_recipe(tmp_path))
    train_recipe(Path(path))
    code, (exported,) = said(capsys, export, path)
    assert (code, exported["model"], exported["failures"]) == (0, "line", [])
    assert exported["version"] == str(artifacts / "models" / "line" / "1")
    assert exported["parity"] == json.loads((artifacts / "models" / "line" / "1" / "parity.json").read_text())
    assert exported["score"]["onnx"][0]["value"] > 0
    assert documented(exported, "conch export: recipe, module, pretrained, onnx") == set()
    assert said(capsys, export, path, "--if-changed") == (0, [{"model": "line", "version": None, "up_to_date": True}])

    publish_file(graphs.write(graphs.AFFINE, tmp_path / "affine.onnx"), "foreign", artifacts / "models")
    for name in ("line", "foreign"):
        code, (explained,) = said(capsys, export, "explain", name)
        assert (code, explained["model"], explained["passed"]) == (0, name, True)
        assert documented(explained, "conch export explain") == set()

    code, page = said(capsys, report)
    assert code == 0
    assert documented(page, "conch report") | documented(page["models"], "conch report") == set()
    assert [model["model"] for model in page["models"]] == ["foreign", "line"]
    assert page["models"][1]["score"]["onnx"][0]["value"] > 0


def test_what_was_not_published_is_said_with_its_reason() -> None:
    proof = Proof("dynamo", ("line: output 'y' is 3 off",))
    found = failure_document("line", ProofFailed("line", [proof, replace(proof, exporter="torchscript")]))
    assert found["version"] is None
    assert "nothing was published" in found["error"]
    assert [one["exporter"] for one in found["rejected"]] == ["dynamo", "torchscript"]
    assert documented(found, "conch export: recipe, module, pretrained, onnx") == set()


@pytest.mark.slow
def test_a_module_for_programs(tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text("import torch\n\n\nnet = torch.nn.Linear(3, 2)\n")
    words = ("module", f"{tmp_path / 'net.py'}:net", "--input", "x:float32[batch,3]", "--name", "net")
    code, (exported,) = said(capsys, export, *words)
    assert (code, exported["model"], exported["score"]) == (0, "net", {"weights": [], "onnx": []})
    assert exported["parity"]["passed"]


def test_a_check_for_programs(tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = checked.write_linear(tmp_path / "net.onnx")
    code, found = said(capsys, check, str(file), "--reference", f"{checked.FILE}:Linear")
    assert (code, found[0]["verdict"], found[0]["parity"]["passed"]) == (0, "proven", True)
    assert documented(found, "conch check") == set()
    assert documented(found[0]["reference"], "conch check") <= {"weights", "weights_read"}
    parity = found[0]["parity"]
    assert documented(parity, "conch export: recipe, module, pretrained, onnx") == set()
    code, (nothing,) = said(capsys, check, str(file))
    assert (code, nothing["verdict"], nothing["reference"]) == (4, "unverifiable", None)
    assert nothing.keys() == found[0].keys()


def test_a_server_is_described_without_a_call_where_its_metrics_are_not_known() -> None:
    found = server_document([ModelState("cnn", "1", "READY", "")], "127.0.0.1:8000", None, None)
    assert (found["http"], found["grpc"], found["metrics"]) == ("http://127.0.0.1:8000", None, None)
    assert found["models"] == [
        {"name": "cnn", "version": "1", "state": "READY", "reason": "", "runs_on": None, "probe": None}
    ]
    assert documented(found, "conch serve, conch status") == set()
    assert documented(found["models"], "conch serve, conch status") == set()


def test_variants_of_other_precisions_are_documented() -> None:
    keys = ("method", "kept", "score", "bytes", "size_ratio", "speedup", "failures", "published")
    assert documented(dict.fromkeys(keys), "conch export: recipe, module, pretrained, onnx") == set()
