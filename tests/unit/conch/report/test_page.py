"""The report can be read: by a person, on a phone, with a hundred models; and by programs, by its schema."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conch.report import __main__ as command
from conch.report.differences import difference_text, nearest_to_tolerance
from conch.report.evidence import Evidence
from conch.report.explanations import FIGURES
from conch.report.page import PAGED, render_page
from conch.report.plots import latency_plot, parity_rows
from conch.report.summary import summary_rows
from conch.report.variants import variant_rows
from serving.repository.foreign import publish_file
from tests.support import graphs

SCHEMA = json.loads(Path(command.__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
UINT8 = 'output { name: "pixels" data_type: TYPE_UINT8 dims: [4] }\noutput { name: "x" data_type: TYPE_FP32 dims: [1] }'


def cell(output: str, difference: float | None, absolute: float) -> dict[str, Any]:
    return {
        "output": output, "difference": difference, "tolerance": [absolute, 0], "batch": 1, "sizes": {},
        "inputs": "real", "passed": True, "alone": 0.0, "reason": "",
    }  # fmt: skip


def evidence(name: str, folder: Path, **published: Any) -> Evidence:
    """Of a model with an output of pixels and one of floats."""
    version = folder / name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(UINT8)
    parity = {"passed": True, "cells": [cell("pixels", 1.0, 1.0), cell("x", 3e-8, 1e-5), cell("x", 0.0, 1e-5)]}
    known = {"recipe": name, "bytes": 10, "nodes": 1, "opset": 20} | published
    return Evidence(name, version, known, parity, None, version, None, None, version)


@pytest.mark.parametrize(
    ("difference", "data_type", "text"),
    [
        (1.0, "UINT8", "1 of 255"), (0.0, "UINT8", "0"), (3.14e-7, "FP32", "3.1e-07"), (0.0, "FP32", "0"),
        (2.0, "INT64", "2"), (None, "FP32", "failed"), (1e-3, "", "1.0e-03"), (float("inf"), "BYTES", "inf"),
    ],
)  # fmt: skip
def test_a_difference_has_its_unit(difference: float | None, data_type: str, text: str) -> None:
    assert difference_text(difference, data_type) == text


def test_models_are_shown_by_family(tmp_path: Path) -> None:
    models = [evidence(name, tmp_path) for name in ("vgg", "mine", "elm", "cnn", "alexnet", "perceptron")]
    families = [(row["model"], row["family"]) for row in summary_rows(models)]
    assert families == [
        ("cnn", "demo"), ("elm", "classic"), ("perceptron", "classic"), ("alexnet", "images"), ("vgg", "images"),
        ("mine", "others"),
    ]  # fmt: skip
    page = render_page(models, tmp_path)
    heads = re.findall(r'<th class="family" colspan="10">(.*?)</th>', page)
    assert heads == ["demo", "classic", "images", "others"]
    assert re.findall(r'<strong class="family">(.*?)</strong>', page) == heads
    assert 'class="family"' not in re.sub("(?s)<style>.*</style>", "", render_page(models[:1], tmp_path))


def test_of_outputs_of_several_types_the_one_nearest_to_its_tolerance_is_shown(tmp_path: Path) -> None:
    model = evidence("a", tmp_path)
    assert summary_rows([model])[0]["parity"] == "1 of 255"
    model.parity["cells"][0] = cell("pixels", 0.0, 1.0)
    assert summary_rows([model])[0]["parity"] == "3e-08"
    assert nearest_to_tolerance([cell("x", None, 1e-5)]) is None
    _, rows = parity_rows(model.parity, model.output_types)
    assert [row["cells"][0]["text"] for row in rows] == ["0", "0"], "of two cells of one place the last"


def test_precisions_are_shown_where_there_are_several(tmp_path: Path) -> None:
    one, other = (evidence(name, tmp_path, recipe=name) for name in ("a", "b"))
    variant = {"of": "b", "kept_in_fp32": [], "layers": 1, "speedup": 1.0}
    small = evidence("b_small", tmp_path, recipe="b", variant=variant)
    besides = evidence("b_encoder", tmp_path, recipe="b")
    assert variant_rows([one, other, besides]) == []
    assert [row["model"] for row in variant_rows([one, other, small, besides])] == ["b", "b_small"]


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"train": 1437, "held_out": 360, "classes": 10}, "digits (1,437 examples, 360 held out) in 3 s"),
        ({"states": 500, "dropped_out": 6, "sha256": "0"}, "digits (500 states, 6 dropped out) in 3 s"),
        ({"train": "a stream"}, "digits (a stream examples) in 3 s"),
        ({}, "digits in 3 s"),
    ],
)
def test_data_are_shown_by_what_they_say_of_themselves(sizes: dict[str, Any], text: str, tmp_path: Path) -> None:
    model = evidence("mine", tmp_path)
    model.trained = {
        "description": "Mine.", "parameters": 9, "data": {"name": "digits", **sizes}, "training_seconds": 3.2,
        "created": "2026-11-28T08:00:00", "settings": {}, "score": [],
    }  # fmt: skip
    page = render_page([model], tmp_path)
    assert text in " ".join(re.sub("<[^>]+>", "", page).split())


def test_each_line_of_the_plot_says_what_it_is() -> None:
    run = {"histogram": [1.0, 5, 2.0, 5], "latency_ms": {"p50": 1.0, "p99": 2.0}, "requests": 10}
    drawn = latency_plot({"a<b": run, "c": run})
    assert re.findall(r"<title>(.*?)</title>", drawn) == [
        f"{name}: 10 requests, half of them within 1 ms, 99 of 100 within 2 ms" for name in ("a&lt;b", "c")
    ]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts with one published file of no recipe."""
    artifacts = tmp_path_factory.mktemp("report") / "artifacts"
    file = graphs.write(graphs.AFFINE, artifacts.parent / "affine.onnx")
    publish_file(file, name="affine", repository=artifacts / "models")
    return artifacts


def reported(artifacts: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Path:
    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts))
    assert command.main(list(words)) == 0
    return artifacts / "report"


def test_programs_get_the_same_by_its_schema(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reported(published, monkeypatch, "--json")
    document = json.loads((folder / "report.json").read_text())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)
    assert json.loads(capsys.readouterr().out) == {"page": str(folder / "index.html")} | document
    assert (document["holds"], document["complete"]) == (True, False), "no load test was run"
    assert {link["name"]: link["intact"] for link in document["models"][0]["chain"]}["onnx"] is True
    for key in SCHEMA["$defs"]["model"]["required"]:
        short = json.loads(json.dumps(document))
        del short["models"][0][key]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(short, SCHEMA)
    page = (folder / "index.html").read_text()
    assert 'href="report.json"' in page
    assert 'href="#affine"' in page


def test_with_many_models_each_has_a_page(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"model_{number}" for number in range(PAGED + 1)]
    for name in names:
        shutil.copytree(published / "models" / "affine", tmp_path / "models" / name)
    folder = reported(tmp_path, monkeypatch)
    index = (folder / "index.html").read_text()
    assert set(re.findall(r'href="(models/.*?)"', index)) == {f"models/{name}.html" for name in names}
    for name in names:
        page = (folder / "models" / f"{name}.html").read_text()
        assert f'<h2 id="{name}">' in page
        assert f'<h2 id="{name}">' not in index
        assert 'href="../index.html"' in page


def test_each_explained_figure_is_explained_where_it_stands(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (reported(published, monkeypatch) / "index.html").read_text()
    for name in ("parity", "p99 ms", "promise"):
        assert re.search(rf'<th class="\w*" title="[^"]{{10,}}">{name}</th>', page), name
    assert page.count("<dt>") == len(FIGURES), "and once for those without a mouse"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is missing: apt-get install chromium")
def test_on_a_phone_nothing_sticks_out(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a browser: what is wider than a phone stands in a frame that scrolls by itself."""
    folder = reported(published, monkeypatch)
    look = """<iframe id=f width=375 height=800 src=index.html></iframe><script>f.onload = () => {
      const page = f.contentDocument, out = [...page.querySelectorAll("body *")].filter(
        one => one.getBoundingClientRect().right > 376 && !one.closest(".scroll"))
      document.title = page.documentElement.scrollWidth + " " + out.map(one => one.outerHTML.slice(0, 60)).join() }
    </script>"""
    (folder / "phone.html").write_text(f"<!doctype html><title>not loaded</title>{look}")
    said = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", "--dump-dom",
         f"file://{folder / 'phone.html'}"],
        capture_output=True, text=True, timeout=120, check=False,
    ).stdout  # fmt: skip
    width, _, sticking_out = (re.search(r"<title>(.*?)</title>", said, re.DOTALL) or ["", "no title"])[1].partition(" ")
    assert sticking_out == ""
    assert int(width) <= 375
