"""`conch export module` and `conch export onnx` in a lower precision: published, or refused and why."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conch.report.evidence import gather
from conch.report.variants import variant_rows
from export.__main__ import main
from export.precision.gate import Try
from serving.repository.foreign import publish_file
from tests.support import precision_networks, quantizable

Command = Callable[..., tuple[int, str, str]]
NETWORKS = Path(precision_networks.__file__)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def command(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Words behind `conch export` to exit code, output and errors; every variant is twice as fast as fp32."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("export.precision.gate.speedup", lambda *_: 2.0)
    quantizable.perceptron(tmp_path / "m.onnx")
    quantizable.sequences(tmp_path / "x.npz")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["export", *words])
        try:
            code = main()
        except SystemExit as stopped:  # of a command that cannot be read
            code = int(stopped.code or 0)
        return code, *capsys.readouterr()

    return run


def published(artifacts: Path, name: str) -> tuple[dict[str, Any], dict[str, Any], onnx.ModelProto]:
    version = artifacts / "models" / name / "1"
    manifest, parity = (json.loads((version / f"{file}.json").read_text()) for file in ("manifest", "parity"))
    return manifest, parity, onnx.load(version / "model.onnx")


FILE = ("onnx", "m.onnx", "--name", "m")


@pytest.mark.parametrize(
    ("words", "name", "operator", "method", "judge"),
    [
        (("--precision", "int8", "--inputs-from", "x.npz"), "m_int8", None, None, "fp32 on 200 items of x.npz"),
        (
            ("--precision", "int8", "--quantize", "dynamic", "--inputs-from", "x.npz"),
            "m_int8", "MatMulInteger", "dynamic, a scale a row", "agreement with fp32 on 400 items of x.npz",
        ),
        (
            ("--precision", "int8", "--quantize", "weights", "--triton", "25.08", "--inputs-from", "x.npz"),
            "m_int8", "MatMulNBits", None, "agreement",
        ),
        (
            ("--precision", "int4", "--inputs-from", "x.npz", "--allowed-loss", "20"),
            "m_int4", "MatMulNBits", None, "agreement",
        ),
        (("--precision", "fp16", "--inputs-from", "x.npz"), "m_fp16", "Cast", "fp16", "agreement"),
    ],
)  # fmt: skip
def test_an_onnx_file_is_published_with_the_tensors_it_has(
    command: Command, artifacts: Path, words: tuple[str, ...], name: str, operator: str | None, method: str | None,
    judge: str,
) -> None:  # fmt: skip
    code, _, err = command(*FILE, *words)
    assert (code, err) == (0, "")
    manifest, parity, model = published(artifacts, name)
    fp32 = onnx.load("m.onnx")
    assert list(model.graph.input) == list(fp32.graph.input)
    assert list(model.graph.output) == list(fp32.graph.output)
    assert operator is None or operator in {node.op_type for node in model.graph.node}
    variant = manifest["variant"]
    assert variant["of"] == "m"
    assert method in (None, variant["method"])
    assert judge in variant["judged_by"]
    assert manifest["precision"] == name.removeprefix("m_")
    assert manifest["score"]["onnx"][0]["name"] == "agreement of y"
    assert manifest["score"]["onnx"][0]["value"] >= 80
    assert parity["passed"]
    assert {cell["batch"] for cell in parity["cells"]} == {1, 2, 3, 7, 32}
    assert manifest["bytes"] < 0.75 * Path("m.onnx").stat().st_size
    assert manifest["source"]["kind"] == "onnx file"


def test_what_int8_breaks_is_refused_and_shown(command: Command, artifacts: Path, tmp_path: Path) -> None:
    quantizable.spoiled(tmp_path / "m.onnx")
    quantizable.sequences(tmp_path / "x.npz", first=1e6)
    code, out, err = command(*FILE, "--precision", "int8", "--inputs-from", "x.npz")
    assert code == 1
    assert all(method in out for method in ("entropy", "percentile", "min-max", "a scale a tensor", "a scale a row"))
    assert re.search(r"m: nothing was published, none of 5 variants passed .* 5 % may be lost", err)
    assert not (artifacts / "models").exists()
    # The same file is served well by weights of 8 bits: nothing of it is large but the input.
    code, *_ = command(
        *FILE, "--precision", "int8", "--quantize", "weights", "--triton", "25.08", "--inputs-from", "x.npz"
    )
    assert code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--precision", "int8"), "a lower precision needs something that judges it, and random inputs say nothing"),
        (("--precision", "int4", "--quantize", "dynamic", "--inputs-from", "x.npz"), "int4 is for weights alone"),
        (("--precision", "int8", "--quantize", "weights", "--inputs-from", "x.npz"), "--triton 25.08"),
        (("--precision", "int8", "--inputs-from", "x.npz", "--classes", "z"), "there is no such output; there are y"),
        (("--precision", "int8", "--inputs-from", "gone.npz"), "gone.npz is no readable .npz file"),
        (("--precision", "int8", "--score", "judge.py:gone"), "there is no file judge.py"),
        (("--precision", "int8", "--inputs-from", "x.npz", "--allowed-loss", "some"), "must be a number such as 0.5"),
    ],
)
def test_what_cannot_be_judged_or_served_is_one_line(
    command: Command, artifacts: Path, words: tuple[str, ...], said: str
) -> None:
    code, _, err = command(*FILE, *words)
    assert code != 0
    assert said in err
    assert err.strip().count("\n") == 0
    assert not (artifacts / "models").exists()


def test_what_is_slower_is_refused_or_says_so_first(
    command: Command, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.precision.gate.speedup", lambda *_: 0.43)
    monkeypatch.setattr("export.precision.table.how_to_go_live", lambda version: f"what to do with {version.name}")
    words = (*FILE, "--precision", "int8", "--target", "x86", "--inputs-from", "x.npz")
    monkeypatch.setattr("export.precision.target.platform.machine", lambda: "x86_64")
    code, _, err = command(*words)
    assert code == 1
    assert "int8 passed the gate and runs 0.43 times as fast as fp32 here" in err
    assert not (artifacts / "models").exists()
    code, out, _ = command(*words, "--even-if-slower")
    assert code == 0
    assert out.startswith("m_int8 is slower than fp32 on this machine: 0.43 times as fast")
    assert "  what to do with 1\n" in out
    code, out, _ = command(*FILE, "--precision", "fp16", "--inputs-from", "x.npz")
    assert code == 0
    assert "fp16 is for GPUs" in out.splitlines()[0]


def test_a_function_judges_and_says_what_it_asked_for(command: Command, artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        "import numpy as np\n"
        "def share(predict):\n"
        "    x = np.load('x.npz')['x'][:50]\n"
        "    return float((predict({'x': x})['y'].argmax(-1) >= 4).mean())\n"
    )
    code, out, _ = command(*FILE, "--precision", "int8", "--score", "judge.py:share", "--allowed-loss", "0.05")
    assert code == 0
    assert "judged by share of judge.py" in out
    assert "share asked for 50 items: where it is a share of them" in out
    assert "static int8 was not tried, there is nothing to calibrate it with" in out
    manifest, *_ = published(artifacts, "m_int8")
    assert manifest["variant"]["allowed_loss"] == {"share": "0.05"}
    assert manifest["score"]["weights"][0]["name"] == "share"


def test_items_of_a_file_without_a_batch_axis(command: Command, artifacts: Path, tmp_path: Path) -> None:
    quantizable.perceptron(tmp_path / "m.onnx", fixed=1)
    code, _, err = command(*FILE, "--precision", "int8", "--inputs-from", "x.npz")
    assert (code, err) == (0, "")
    manifest, parity, _ = published(artifacts, "m_int8")
    assert manifest["variant"]["judged_by"] == "agreement with fp32 on 200 items of x.npz"
    assert len(parity["cells"]) == 8
    # Nobody shares a run, so the faster way that takes one scale over everything may be published.
    assert all(not one["failures"] for one in manifest["variant"]["tries"] if "a tensor" in one["method"])


def test_an_item_may_hold_a_number(command: Command, artifacts: Path, tmp_path: Path) -> None:
    """As the sampling rate of silero-vad, beside an input whose batch is not its first axis."""
    model = onnx.load("m.onnx")
    model.graph.input.append(onnx.helper.make_tensor_value_info("factor", onnx.TensorProto.FLOAT, []))
    model.graph.node[0].input[0] = "larger"
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["x", "factor"], ["larger"], "scaled"))
    onnx.save(model, "m.onnx")
    rows = np.load("x.npz")["x"]
    np.savez("x.npz", x=rows[:, None], factor=np.ones(len(rows), np.float32))
    for precision in ("int8", "fp16"):
        code, _, err = command(*FILE, "--precision", precision, "--inputs-from", "x.npz")
        assert (code, err) == (0, "")
    assert published(artifacts, "m_int8")[0]["variant"]["judged_by"] == "agreement with fp32 on 200 items of x.npz"


def test_labels_and_the_json_document(command: Command, artifacts: Path, tmp_path: Path) -> None:
    quantizable.perceptron(tmp_path / "m.onnx", softmax=False)
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghijklmnop"))
    words = ("--precision", "int8", "--inputs-from", "x.npz", "--max-batch", "4")
    code, out, _ = command(*FILE, *words)
    assert "relative error of y" in out
    assert "y is judged by its error; where its last axis counts classes: --classes y" in out
    code, out, _ = command(*FILE, *words, "--labels", "labels.txt", "--next-version", "--json")
    (document,) = json.loads(out)
    assert (code, Path(document["version"]).parent.name) == (0, "m")
    assert document["tries"][0]["score"][0]["name"] == "agreement of y"
    assert {"speedup", "speedup_alone", "cannot_tell", "published"} <= document["tries"][0].keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "inputs", "words", "operators"),
    [
        ("Block", {"tokens": "int64"}, ("--precision", "int8", "--quantize", "dynamic"), {"MatMulInteger"}),
        ("Block", {"tokens": "int64"}, ("--precision", "int4", "--allowed-loss", "30"), {"MatMulNBits"}),
        ("Convolutions", {"image": "float32"}, ("--precision", "int8"), {"QuantizeLinear", "Conv"}),
        ("Convolutions", {"image": "float32"}, ("--precision", "int8", "--max-batch", "0"), {"QuantizeLinear"}),
    ],
)
def test_a_module_is_published_in_a_lower_precision(
    command: Command, artifacts: Path, network: str, inputs: dict[str, str], words: tuple[str, ...],
    operators: set[str],
) -> None:  # fmt: skip
    draw = np.random.default_rng(0)
    spec: tuple[str, ...]
    if network == "Block":
        np.savez("x.npz", tokens=draw.integers(0, 32, (40, 8)))
        spec = ("--input", "tokens:int64[batch,time]<0,31>", "--sizes", "time=1,8")
    else:
        images = draw.random((40, 4, 8, 8), np.float32)
        np.savez("x.npz", image=images[:, None] if "0" in words else images)
        spec = ("--input", f"image:float32[{'1' if '0' in words else 'batch'},4,8,8]<0,1>")
    code, out, err = command(
        "module", f"{NETWORKS}:{network}", *spec, "--name", "net", "--inputs-from", "x.npz",
        *(words if "--max-batch" in words else (*words, "--max-batch", "4")),
    )  # fmt: skip
    assert (code, err) == (0, "")
    name = f"net_{words[1]}"
    manifest, parity, model = published(artifacts, name)
    assert operators <= {node.op_type for node in model.graph.node}
    assert [tensor.name for tensor in (*model.graph.input, *model.graph.output)] == [*inputs, "output"]
    assert manifest["source"]["kind"] == "module"
    assert manifest["variant"]["judged_by"].endswith("items of x.npz")
    assert f"{name}:" in out
    assert parity["passed"]


@pytest.mark.slow
def test_the_page_s_block_is_published_by_its_command(command: Command, artifacts: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "export-precision.md").read_text()
    block = next(text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if text.startswith("# block.py"))
    (tmp_path / "block.py").write_text(block)
    subprocess.run([sys.executable, "block.py"], check=True)
    words = next(line for line in page.splitlines() if line.startswith("conch export module block.py"))
    code, out, err = command(*shlex.split(words)[2:], "--max-batch", "4", "--quantize", "dynamic")
    assert (code, err) == (0, "")
    assert "relative error of output" in out
    assert published(artifacts, "block_int8")[0]["variant"]["method"] == "dynamic, a scale a row"


@pytest.mark.parametrize(
    "words", [("--score", "a.py:f"), ("--quantize", "static"), ("--even-if-slower",), ("--classes", "output")]
)
def test_what_is_for_a_lower_precision_is_refused_without_one(command: Command, words: tuple[str, ...]) -> None:
    spec = ("--input", "image:float32[batch,4,8,8]", "--name", "net")
    code, _, err = command("module", f"{NETWORKS}:Convolutions", *spec, *words)
    assert code != 0
    assert f"{words[0]} is for a lower precision: --precision int8, int4 or fp16" in err


def test_the_report_shows_a_file_and_its_variants_side_by_side(command: Command, artifacts: Path) -> None:
    publish_file(Path("m.onnx"), "m", artifacts / "models")
    publish_file(Path("m.onnx"), "alone", artifacts / "models")
    command(*FILE, "--precision", "int8", "--inputs-from", "x.npz")
    rows = variant_rows(gather(artifacts))
    assert [(row["model"], row["precision"], row["first"]) for row in rows] == [
        ("m", "fp32", True), ("m_int8", "int8", False)
    ]  # fmt: skip
    assert rows[1]["judge"] == "agreement with fp32 on 200 items of x.npz"
    assert rows[1]["scores"][0]["text"].startswith("agreement of y ")
    assert float(rows[1]["share"]) < 0.5


def test_a_try_says_whether_more_layers_can_mend_it() -> None:
    assert Try(method="m", kept=(), describes={}, layers=1, path=Path(), size=1, size_ratio=1.0).mendable
