"""`conch check`: each verdict with its exit code, by the command itself, and what could fool it."""

import json
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from conch.__main__ import main
from export.modules.module_source import load_module
from tests.support import checked, graphs
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe

Command = Callable[..., tuple[int, str, str]]
"""Words to the exit code, and what is said on standard output and error."""

LINEAR, LOOKUP = f"{checked.FILE}:Linear", f"{checked.FILE}:Lookup"


@pytest.fixture
def command(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`conch check`, in a folder with the files of `write_files`."""
    monkeypatch.chdir(tmp_path)
    write_files()

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(["check", *words])
        except SystemExit as error:  # what tyro does with flags that it does not know
            code = int(str(error.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


GRAPHS = {
    "text": "text (string[batch] a, string[batch] b) => (string[batch] both) { both = StringConcat(a, b) }",
    "fixed": "fixed (float[batch, 4] x) => (float[batch, 3] y) <int64[2] s = {2, 3}> { y = Reshape(x, s) }",
    "constant": "constant () => (float[2] y) <float[2] c = {1, 2}> { y = Identity(c) }",
}


def by(file: str, reference: str, *more: str) -> tuple[str, ...]:
    """A file against a reference."""
    return (file, "--reference", reference, *more)


def recorded(answers: str) -> tuple[str, ...]:
    """A file against recorded answers."""
    return ("right.onnx", "--inputs-from", "x.npz", "--outputs-from", answers)


def write_files() -> None:
    """The files that `CASES` names, in the working folder."""
    checked.write_linear(Path("right.onnx"))
    checked.write_linear(Path("copy.onnx"))
    checked.write_linear(Path("wrong.onnx"), off=0.01)
    checked.write_linear(Path("renamed.onnx"), x="input.1", y="7")
    checked.write_linear(Path("one_row.onnx"), rows=1)
    checked.write_lookup(Path("lookup.onnx"))
    checked.write_lookup(Path("swapped.onnx"), swapped=True)
    checked.write_lookup(Path("row.onnx"), off=0.5)
    checked.write_points(Path("points.onnx"))
    checked.write_mixing(Path("mixing.onnx"))
    Path("noise.onnx").write_bytes(b"no model")
    for name, graph in GRAPHS.items():
        model = onnx.load(graphs.write(graph, Path(f"{name}.onnx")))
        model.producer_name = "another file of the same"
        onnx.save(model, f"other_{name}.onnx")
    linear = checked.Linear()
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    y = linear(torch.from_numpy(x)).detach().numpy()
    late, double = y.copy(), y.astype(np.float64)
    late[45, 0] += 0.1
    for name, arrays in {
        "x": {"x": x}, "wide": {"x": x[:, :3]}, "y": {"y": y}, "by_order": {"answer": y}, "late": {"y": late},
        "double": {"y": double}, "more": {"y": y, "z": y}, "short": {"y": y[:49]}, "item": {"x": x[:1]},
        "item_y": {"y": y[:1]},
    }.items():  # fmt: skip
        np.savez(f"{name}.npz", **arrays)
    save_file(linear.state_dict(), "right.safetensors")
    save_file({name: 2 * tensor for name, tensor in linear.state_dict().items()}, "other.safetensors")


CASES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "against its module": (by("right.onnx", LINEAR), 0, "proven: right.onnx by checked.py:Linear"),
    "one weight off": (by("wrong.onnx", LINEAR), 1, "wrong: batch 1, random inputs, output 'y': differs"),
    "its weights": (by("right.onnx", LINEAR, "--weights", "right.safetensors"), 0, "proven: right.onnx"),
    "other weights": (by("right.onnx", LINEAR, "--weights", "other.safetensors"), 1, "differs from PyTor"),
    "called otherwise": (by("renamed.onnx", LINEAR), 0, "proven: renamed.onnx"),
    "more than the file has": (by("right.onnx", f"{checked.FILE}:Named"), 0, "does not have: seen float32"),
    "ranges in a list": (
        by("lookup.onnx", LOOKUP, "--input", "tokens:int64[batch,time]<0,59>", "factor:float32[batch]<1,2>"), 0, "prove"
    ),
    "text": (by("text.onnx", "other_text.onnx"), 0, "proven: text.onnx by other_text.onnx"),
    "nobody runs it": (by("fixed.onnx", "other_fixed.onnx"), 4, "batch 1, rows 1, random inputs: other_fixed.onnx re"),
    "no inputs": (by("constant.onnx", LINEAR), 4, "constant.onnx has no inputs: nothing can be asked of it"),
    "another order": (by("swapped.onnx", LOOKUP), 0, "proven: swapped.onnx"),
    "one row of a table": (by("row.onnx", LOOKUP), 1, "differs from PyTorch"),
    "two arguments": (by("right.onnx", LOOKUP), 1, "the file has 1 inputs (x float32[batch, 4]), "),
    "no batch": (by("points.onnx", f"{checked.FILE}:Points"), 0, "proven: points.onnx"),
    "no batch, another": (by("points.onnx", LINEAR), 1, "differs from PyTorch"),
    "mixes its rows": (by("mixing.onnx", LINEAR), 1, "batch 2, random inputs, output 'y': differs from Py"),
    "one row": (by("one_row.onnx", LINEAR), 0, "proven: one_row.onnx"),
    "zeros": (by("right.onnx", f"{checked.FILE}:Dead"), 1, "differs from PyTorch"),
    "against a file": (by("right.onnx", "renamed.onnx"), 0, "inputs by order: x is input.1"),
    "against a wrong file": (by("right.onnx", "wrong.onnx"), 1, "differs from wrong.onnx by 0.0"),
    "a file of one row": (by("right.onnx", "one_row.onnx"), 0, "input x of one_row.onnx is [1, 4] alone: other sizes"),
    "a file of other types": (by("right.onnx", "lookup.onnx"), 1, "the file has 1 input (x float"),
    "itself": (by("right.onnx", "right.onnx"), 4, "right.onnx is the same file as right.onnx"),
    "a copy": (by("right.onnx", "copy.onnx"), 4, "copy.onnx is the same file as right.onnx: the two can"),
    "recorded": (recorded("y.npz"), 0, "proven: right.onnx by y.npz"),
    "recorded by order": (recorded("by_order.npz"), 0, "proven: right"),
    "row 45 of 50": (recorded("late.npz"), 1, "the recorded answers by"),
    "recorded doubles": (recorded("double.npz"), 1, "is y float64[50, "),
    "recorded more": (recorded("more.npz"), 1, "more.npz has 2 (y floa"),
    "recorded, one row": (("one_row.onnx", "--inputs-from", "item.npz", "--outputs-from", "item_y.npz"), 0, "proven: "),
    "nothing": (("right.onnx",), 4, "there is nothing to prove right.onnx against; give --reference FILE.py:NAME"),
    "damaged": (by("noise.onnx", LINEAR), 3, "cannot be exported or served: model 'noise': noise.onnx is no readab"),
    "no file": (by("none.onnx", LINEAR), 2, "error: there is no file none.onnx"),
    "no reference": (by("right.onnx", "none.onnx"), 2, "there is no ONNX file of that name"),
    "no such name": (by("right.onnx", f"{checked.FILE}:Nothing"), 2, "checked.py has no 'Nothing'"),
    "short": (recorded("short.npz"), 2, "has 49 rows, the inputs hav"),
    "answers to nothing": (("right.onnx", "--outputs-from", "y.npz"), 2, "--outputs-from needs the inputs that they"),
    "two references": ((*recorded("y.npz"), "--reference", LINEAR), 2, "one of the two"),
    "other inputs": (by("right.onnx", LINEAR, "--inputs-from", "wide.npz"), 2, "x is float32 [50, 3], the"),
    "a range of nothing": (by("right.onnx", LINEAR, "--input", "z:float32[batch,4]"), 2, "inputs are x flo"),
    "a reference of a module": ((LINEAR, "--reference", "right.onnx"), 2, "is exported, and its own reference"),
    "a flag": (("right.onnx", "--what"), 2, "--what"),
    "no time": (by("right.onnx", LINEAR, "--time", "soon"), 2, "--time soon: it must be a number above 0"),
    "no folder": (by("right.onnx", LINEAR, "--junit", "none/a.xml"), 2, "there is no folder none"),
    "no recipe": (("nosuch",), 2, "no recipe 'nosuch'"),
    "no weights": (("cnn",), 2, "make it with: conch train cnn"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_verdict_has_its_exit_code(case: str, command: Command, artifacts: Path) -> None:
    words, code, message = CASES[case]
    got, out, err = command(*words)
    assert message in out + err
    assert got == code
    if code and case != "a flag":
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert not (artifacts / "models").exists()


SAID = ("--input", "x:float32[batch,4]")
MODULES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "right": ((LINEAR, *SAID, "--max-batch", "3"), 0, "proven: "),
    "zeros": (
        (f"{checked.FILE}:Dead", *SAID),
        4,
        "is the same for all made-up inputs, so that a wrong one could not be",
    ),
    "no exporter": (
        (f"{checked.FILE}:Untranslatable", *SAID),
        3,
        "or served: Untranslatable: the dynamo exporter f",
    ),
    "other inputs": ((LINEAR, "--input", "x:float32[batch,5]"), 2, "the module fails on x float32 [2, 5]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", MODULES)
def test_a_module_is_exported_for_its_verdict_alone(case: str, command: Command, artifacts: Path) -> None:
    words, code, message = MODULES[case]
    got, out, err = command(*words)
    assert message in out + err
    assert got == code
    assert not (artifacts / "models").exists()


def test_the_document_says_the_verdict_and_what_was_not_covered(command: Command) -> None:
    code, out, _ = command(*by("lookup.onnx", LOOKUP, "--time", "0.001s", "--json"))
    (found,) = json.loads(out)
    assert (code, found["exit_code"], found["verdict"], found["reason"]) == (0, 0, "proven", None)
    assert found["reference"]["kind"] == "module"
    assert found["reference"]["sha256"].keys() == {"source"}
    assert len(found["parity"]["cells"]) == 1
    assert "59 of 60 runs did not fit into 0.001 s: 19 on random inputs (batch 1, 2, 3, 7, 32; time" in str(
        found["not_covered"]
    )
    code, out, _ = command("right.onnx", "--json")
    (found,) = json.loads(out)
    assert (code, found["exit_code"], found["verdict"], found["parity"]) == (4, 4, "unverifiable", None)


def test_what_the_file_itself_answered_is_doubted(command: Command) -> None:
    import onnxruntime

    with np.load("x.npz") as file:
        (answer,) = onnxruntime.InferenceSession("right.onnx").run(None, {"x": file["x"]})
    np.savez("own.npz", y=answer)
    code, out, _ = command(*recorded("own.npz"))
    assert code == 0
    assert "bit for bit what this file answers: if they were recorded from it, they prove nothing" in out


def test_indices_reach_every_row_of_a_small_table(command: Command) -> None:
    """With the 0 and 1 of integers without a range the row that is wrong would never be looked up."""
    words = ("--reference", LOOKUP, "--input", "tokens:int64[batch,time]<0,1>")
    assert command("row.onnx", *words)[0] == 0
    assert command(*by("row.onnx", LOOKUP))[0] == 1


RULES = {
    "testsuites": ({}, ["testsuite*"]),
    "testsuite": (
        {
            "id": r"\d+", "name": r".+", "package": r".+", "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
            "hostname": r".+", "tests": r"\d+", "failures": r"\d+", "errors": r"\d+", "skipped": r"\d+",
            "time": r"\d+\.\d+",
        },
        ["properties", "testcase*", "system-out", "system-err"],
    ),
    "properties": ({}, ["property*"]),
    "property": ({"name": r".+", "value": r"(?s).+"}, []),
    "testcase": ({"name": r".+", "classname": r".+", "time": r"\d+\.\d+"}, ["failure?", "error?", "skipped?"]),
    "failure": ({"message": r"(?s).*", "type": r".+"}, []),
    "error": ({"message": r"(?s).*", "type": r".+"}, []),
    "skipped": ({"message": r"(?s).*"}, []),
    "system-out": ({}, []),
    "system-err": ({}, []),
}  # fmt: skip
"""Of windyroad's JUnit.xsd: attributes with their form, and the order of the elements inside."""


def check_junit(element: ET.Element) -> None:
    """Hold an element and all inside against `RULES`."""
    attributes, order = RULES[element.tag]
    assert element.attrib.keys() == attributes.keys(), element.tag
    for name, form in attributes.items():
        assert re.fullmatch(form, element.attrib[name]), (element.tag, name, element.attrib[name])
    inside = "".join(f"<{child.tag}>" for child in element)
    marks = {"*": "*", "?": "?"}
    allowed = "".join(f"(<{one.rstrip('*?')}>){marks.get(one[-1], '')}" for one in order)
    assert re.fullmatch(allowed, inside), (element.tag, inside)
    for child in element:
        check_junit(child)


JUNIT: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "proven": (by("right.onnx", LINEAR), {"tests": 16, "failures": 0, "errors": 0, "skipped": 0}),
    "wrong": (by("wrong.onnx", LINEAR), {"tests": 16, "failures": 16, "errors": 0, "skipped": 0}),
    "unverifiable": (("right.onnx",), {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}),
    "damaged": (by("noise.onnx", LINEAR), {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}),
    "cut": (
        by("right.onnx", LINEAR, "--time", "0.001s"), {"tests": 3, "failures": 0, "errors": 0, "skipped": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", JUNIT)
def test_the_junit_file_has_a_case_a_cell(case: str, command: Command) -> None:
    words, counts = JUNIT[case]
    command(*words, "--junit", "check.xml")
    root = ET.parse("check.xml").getroot()
    check_junit(root)
    (suite,) = root
    assert {name: int(suite.attrib[name]) for name in counts} == counts
    names = [element.attrib["name"] for element in suite.iter("testcase")]
    assert len(names) == len(set(names)) == counts["tests"]


def test_a_message_that_no_xml_may_have_is_written_all_the_same(tmp_path: Path) -> None:
    from export.commands.checked import Checked
    from export.commands.junit import write_junit
    from export.proof.verdict import WRONG, Verdict

    write_junit(tmp_path / "a.xml", [Checked("m", "m.onnx", Verdict(WRONG, "a \x1b[31m\0 \ud800 <b> & é"), 0.0)])
    (failure,) = ET.parse(tmp_path / "a.xml").getroot().iter("failure")
    assert failure.attrib["message"] == "a \ufffd[31m\ufffd \ufffd <b> & é"


PUBLISHED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "module": (("--reference", LINEAR), {"kind": "module", "file": "checked.py:Linear"}),
    "file": (("--reference", "renamed.onnx"), {"kind": "onnx file", "file": "renamed.onnx"}),
    "answers": (("--inputs-from", "x.npz", "--outputs-from", "y.npz"), {"kind": "recorded answers", "file": "y.npz"}),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_publish_proves_first_and_says_by_what(case: str, command: Command, artifacts: Path) -> None:
    from conch.report.evidence import gather
    from conch.report.page import render_page

    words, reference = PUBLISHED[case]
    assert main(["publish", "right.onnx", "--name", "net", *words]) == 0
    version = artifacts / "models" / "net" / "1"
    manifest, parity = (json.loads((version / f"{name}.json").read_text()) for name in ("manifest", "parity"))
    assert manifest["source"]["reference"].items() >= reference.items()
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in manifest["source"]["reference"]["sha256"].values())
    assert parity["passed"]
    assert parity["cells"]
    assert "runs" not in parity
    page = render_page(gather(artifacts), artifacts)
    assert f"Proven against: {reference['kind']} {reference['file']}" in page

    assert main(["publish", "wrong.onnx", "--name", "bad", *words]) == 1
    assert sorted(path.name for path in (artifacts / "models").iterdir()) == ["net"]
    assert [path.name for path in artifacts.iterdir() if path.name.startswith(".")] == []


def test_how_a_file_is_proven_needs_what_it_is_proven_against(
    command: Command, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "right.onnx", "--name", "net", "--weights", "right.safetensors"]) == 1
    assert "give what it is proven against, --reference or --outputs-from" in capsys.readouterr().err
    assert not (artifacts / "models").exists()


PAGE = Path(__file__).parents[3] / "docs" / "check.md"
NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 5))

    def forward(self, image):
        return self.layers(image)
"""


@pytest.mark.slow
def test_the_commands_of_the_page_do_what_it_says(command: Command, artifacts: Path) -> None:
    """All but the recipe's, which would have to be trained."""
    block = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    lines = [shlex.split(line, comments=True)[1:] for line in block[1].splitlines()]
    Path("net.py").write_text(NET)
    net = load_module("net.py:Net").module
    save_file(net.state_dict(), "net.safetensors")
    words = [*lines[0][1:], "--output", "logits", "--name", "net", "--max-batch", "2"]
    assert main(["export", "module", *words]) == 0
    model = onnx.load(artifacts / "models" / "net" / "1" / "model.onnx")
    onnx.save(model, "model.onnx")
    model.producer_name = "another"
    onnx.save(model, "optimized.onnx")
    images = np.random.default_rng(0).random((3, 3, 224, 224), np.float32)
    np.savez("x.npz", image=images)
    with torch.inference_mode():
        np.savez("y.npz", logits=net(torch.from_numpy(images)).numpy())
    assert [line[1] for line in lines] == ["net.py:Net", "cnn", "model.onnx", "optimized.onnx", "model.onnx"]
    for line in lines:
        if line[1] != "cnn":
            code, out, err = command(*line[1:], "--max-batch", "2")
            assert (code, err) == (0, ""), out


def test_a_recipe_is_checked_by_its_grid_and_its_score(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_line_recipe(tmp_path)
    train_recipe(recipe)
    capsys.readouterr()
    assert main(["check", str(recipe), "--exporter", "torchscript", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["model"], found["reference"]["kind"], found["exporter"]) == ("line", "recipe", "torchscript")
    assert found["score"]["weights"] == found["score"]["onnx"] != []
    assert not (artifacts / "models").exists()

    module = "class Mixing(nn.Module):\n    def __init__(self, network):\n        super().__init__()\n"
    module += (
        "        self.network = network\n    def forward(self, x):\n        return self.network(x) - x.mean()\n\n\n"
    )
    start = "@dataclass(frozen=True)\nclass Line"
    changes = (("module=trained.network.eval()", "module=Mixing(trained.network).eval()"), (start, module + start))
    write_line_recipe(tmp_path, *changes)
    assert main(["check", str(recipe), "--exporter", "torchscript"]) == 1
    assert "line.py: wrong: batch 2, real inputs, output 'y': a row differs by" in capsys.readouterr().err
