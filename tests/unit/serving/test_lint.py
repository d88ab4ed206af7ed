"""Each rule of the linter finds what it is for, and nothing else does; a clean repository has no findings."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup, ModelSequenceBatching

from serving.commands.lint import lint
from serving.errors import ServingError
from serving.lint.check import lint_model, models_of
from serving.lint.findings import RULES
from serving.lint.fixing import apply_fixes
from serving.lint.patch import patch
from serving.onnx_files.releases import find_release
from serving.repository.configuration import parse
from serving.repository.publish import publish
from tests.support import graphs
from tests.support.lint_cases import CASES, config, graph, publish_clean, quantize

CORES = 2

FIXED = {
    "name-mismatch", "missing-version", "tensor-type", "tensor-shape", "preferred-batch", "never-batched",
    "cuda-option-overwritten", "no-warm-up", "warm-up-sizes", "warm-up-of-states", "state-uninitialised",
    "labels-without-classes", "unbounded-queue",
}  # fmt: skip
"""The rules whose finding `--fix` mends."""


def rules_found(repository: Path) -> set[str]:
    return {
        finding.rule for model in models_of(repository, ()) for finding in lint_model(model, cores=CORES, target="x86")
    }


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)
    assert all(rule.about.endswith(".") for rule in RULES.values()), "each says in a sentence what it is about"


def test_the_documentation_has_every_rule() -> None:
    rows = {
        f"| `{rule.name}` | {rule.severity} | {rule.about} | {'yes' if rule.name in FIXED else ''} |"
        for rule in RULES.values()
    }
    assert rows <= set(Path("docs/serving.md").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("name", ["classify", "stateful", "alike"])
def test_what_publish_writes_is_clean(tmp_path: Path, name: str) -> None:
    assert rules_found(publish_clean(tmp_path, name).parent) == set()


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_what_it_is_for_and_no_other_does(tmp_path: Path, rule: str) -> None:
    name, harm = CASES[rule]
    model = publish_clean(tmp_path, name)
    harm(model)
    assert rules_found(model.parent) == {rule}
    (finding, *_) = [f for folder in models_of(model.parent, ()) for f in lint_model(folder, cores=CORES, target="x86")]
    assert finding.field
    assert finding.found
    assert finding.wanted
    assert "\n" not in str(finding)
    assert str(tmp_path) not in str(finding), "a finding names files by their place in the model's folder"


@pytest.mark.parametrize("rule", CASES)
def test_fix_mends_what_is_safe_and_leaves_the_rest(tmp_path: Path, rule: str) -> None:
    name, harm = CASES[rule]
    model = publish_clean(tmp_path, name)
    harm(model)
    before = (model / "config.pbtxt").read_bytes() if (model / "config.pbtxt").exists() else b""
    difference = apply_fixes(model, lint_model(model, cores=CORES))
    assert bool(difference) == (rule in FIXED)
    if rule in FIXED:
        assert rules_found(model.parent) == set()
    elif before:
        assert (model / "config.pbtxt").read_bytes() == before
    assert not list(model.rglob(".*")), "nothing is left of what was written"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"cat\ndog\nbird", set()),  # the last line needs no end
        ("cat\nd\u2028og\nbi\x85rd\n".encode(), set()),  # Triton ends a line at LF and nowhere else
        (b"cat\rdog\rbird\r", {"labels-count", "labels-text"}),
        (b"cat\nd\xf6g\nbird\n", {"labels-text"}),
        (b"cat\n\nbird\n", {"labels-text"}),
        (b"cat\ndog\nbird\n\n", {"labels-count", "labels-text"}),
    ],
)
def test_labels_are_read_as_triton_reads_them(tmp_path: Path, content: bytes, found: set[str]) -> None:
    model = publish_clean(tmp_path, "classify")
    (model / "labels.txt").write_bytes(content)
    assert rules_found(model.parent) == found


def test_a_fix_keeps_the_chain_of_hashes(tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "classify")
    config(lambda said: said.ClearField("model_warmup"))(model)
    manifest = model / "1" / "manifest.json"
    said = json.loads(manifest.read_text())
    assert said["sha256"]["config"] != _sha256(model / "config.pbtxt"), "changed by hand: the chain is broken"
    said["sha256"]["config"] = _sha256(model / "config.pbtxt")
    manifest.write_text(json.dumps(said))
    apply_fixes(model, lint_model(model, cores=CORES))
    assert json.loads(manifest.read_text())["sha256"]["config"] == _sha256(model / "config.pbtxt")


def test_a_fix_keeps_the_comment_above(tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "classify")
    config(lambda said: said.ClearField("model_warmup"))(model)
    file = model / "config.pbtxt"
    file.write_text("# Owned by the vision team.\n" + file.read_text())
    apply_fixes(model, lint_model(model, cores=CORES))
    assert file.read_text().startswith("# Owned by the vision team.\n# Written from the ONNX file")
    assert len(parse(file.read_text()).model_warmup) == 4


@pytest.mark.parametrize("program", [["git", "apply"], ["patch", "-p1", "--posix", "--no-backup-if-mismatch"]])
@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("models", lambda text: text),
        ("two words/models", lambda text: text),
        ("models", lambda text: text.rstrip("\n")),  # its last line has no end
        ("models", lambda text: text.replace("\n", "\r\n")),
        ("models", lambda text: text.replace("  ", "\t") + "# a form feed \f and a\u2028separator end no line"),
    ],
)
def test_what_is_printed_is_a_patch(
    tmp_path: Path,
    place: str,
    change: Callable[[str], str],
    program: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(place).mkdir(parents=True)
    model = publish_clean(Path(place).parent, "classify")
    file = model / "config.pbtxt"
    config(lambda said: setattr(said, "name", "another"))(model)
    config(lambda said: said.ClearField("dynamic_batching"))(model)
    before = change(file.read_text()).encode()
    file.write_bytes(before)
    assert lint(repository=Path(place), diff=True) == 1
    assert file.read_bytes() == before, "nothing is changed"
    subprocess.run(program, input=capsys.readouterr().out.encode(), check=True, capture_output=True)
    patched = file.read_bytes()
    file.write_bytes(before)
    assert lint(repository=Path(place), fix=True) == 0
    assert file.read_bytes() == patched, "--fix does what the patch does"
    subprocess.run([*program, "-R"], input=capsys.readouterr().out.encode(), check=True, capture_output=True)
    assert file.read_bytes() == before, "and what it prints takes it back"


def test_a_patch_of_another_place_begins_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    file = tmp_path / "config.pbtxt"
    file.write_text("one\n")
    monkeypatch.chdir(tmp_path / "here")
    subprocess.run(["patch", "-p1", "-d", "/"], input=patch(file, "one\n", "two\n"), text=True, check=True)
    assert file.read_text() == "two\n"


def test_a_change_that_writes_files_is_no_part_of_a_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = publish_clean(tmp_path, "classify")
    config(lambda said: said.ClearField("model_warmup"))(model)
    assert lint(repository=model.parent, diff=True) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "classify: no-warm-up is not in the patch" in printed.err


def test_an_error_keeps_a_model_from_being_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.lint.check.NEWEST", "24.10")  # which loads less than the ONNX Runtime here
    said = onnx.load(graphs.write(graphs.AFFINE, tmp_path / "affine.onnx"))
    said.opset_import[0].version = 22
    onnx.save(said, tmp_path / "new.onnx")
    golden = graphs.golden(tmp_path / "affine.onnx")
    with pytest.raises(ServingError, match=r"nothing was published: .*opset 22; wanted: at most 21 for Triton 24\.10"):
        publish(
            tmp_path / "new.onnx",
            name="new",
            repository=tmp_path / "models",
            max_batch_size=8,
            manifest={},
            parity=[],
            golden=golden,
        )
    assert not list((tmp_path / "models").iterdir())


def test_what_a_release_loads(tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "classify")
    graph(lambda said: setattr(said.opset_import[0], "version", 22))(model)
    graph(lambda said: setattr(said, "ir_version", 11))(model)
    found = {f.rule for f in lint_model(model, find_release("24.10"), CORES)}
    assert found == {"opset-too-new", "ir-too-new"}
    assert not lint_model(model, find_release("25.08"), CORES)


ARGMAX = "argmax (int64[batch, 4] x) => (int64[batch] y) { y = ArgMax<axis = 1, keepdims = 0>(x) }"
"""Whole numbers: ONNX Runtime 1.20 is the first that computes it."""


def publish_alone(folder: Path, text: str) -> Path:
    file = graphs.write(text, folder / "model.onnx")
    golden, models = graphs.golden(file), folder / "models"
    publish(file, name="alone", repository=models, max_batch_size=8, manifest={}, parity=[], golden=golden)
    return models / "alone"


def test_what_a_release_computes(tmp_path: Path) -> None:
    model = publish_alone(tmp_path, ARGMAX)
    assert not lint_model(model, cores=CORES)
    (finding,) = lint_model(model, find_release("24.10"), CORES)
    assert (finding.rule, finding.severity, finding.field) == ("operator-without-kernel", "error", "1/model.onnx")
    assert finding.found == "ArgMax of opset 20 in int64, node 'y'"
    assert finding.wanted == (
        "what ONNX Runtime 1.19.2 of Triton 24.10 computes on a CPU: double, float, int32, int8, uint8"
    )
    assert finding.fix.startswith("serve it with Triton 24.12 or later")
    assert not lint_model(model, find_release("24.12"), CORES)


def test_weights_of_8_bits_are_told_by_their_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "HEADER", '<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>')
    model = publish_alone(
        tmp_path,
        "alone (float[batch, 16] x) => (float[batch, 1] y) <uint8[1, 1, 16] w = {" + ", ".join(["130"] * 16) + "}, "
        "float[1, 1] s = {0.5}> { y = com.microsoft.MatMulNBits<K = 16, N = 1, bits = 8, block_size = 16>(x, w, s) }",
    )
    assert not lint_model(model, find_release("25.08"), CORES)
    (finding,) = lint_model(model, find_release("25.05"), CORES)
    assert finding.found == ("MatMulNBits of opset 1 in float, uint8 (bits 8, accuracy_level 0), node 'y'")
    assert finding.wanted == (
        "what ONNX Runtime 1.22.0 of Triton 25.05 computes on a CPU, those attributes from 1.23 on"
    )
    assert finding.fix.startswith("serve it with Triton 25.08 or later")


def test_what_only_a_gpu_has_to_compute_is_no_matter_of_the_cpu_s_kernels(tmp_path: Path) -> None:
    model = publish_alone(tmp_path, ARGMAX)
    kinds = ModelInstanceGroup.Kind
    for kind, found in ((kinds.KIND_GPU, 0), (kinds.KIND_AUTO, 1), (kinds.KIND_CPU, 1)):
        config(lambda said, kind=kind: setattr(said.instance_group[0], "kind", kind))(model)  # type: ignore[misc]
        assert len(lint_model(model, find_release("24.10"), CORES)) == found


def test_what_only_nvidias_backend_refuses_is_published_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (publish_clean(tmp_path, "empty") / "1").is_dir()
    (warning,) = caplog.messages
    assert warning.startswith("NVIDIA's backend will not load it, Conch's does: model 'empty', input 'nothing'.dims")
    assert "[-1, 0] in the graph of version 1" in warning


def test_an_axis_of_length_0_that_only_follows_from_the_nodes_is_one_as_well(tmp_path: Path) -> None:
    model = publish_alone(
        tmp_path,
        "none (float[batch, 2] x) => (float[batch, 2] y, float[batch, m] none) "
        "<int64[1] zero = {0}, int64[1] last = {1}> { y = Neg(x) none = Slice(x, zero, zero, last) }",
    )
    (finding,) = lint_model(model, cores=CORES)
    assert (finding.rule, finding.field) == ("zero-length-axis", "output 'none'.dims")


@pytest.mark.parametrize("size", [0, 1, 8])
@pytest.mark.parametrize("strategy", ["direct", ""])
def test_direct_needs_a_control_for_ready_where_batches_are_filled_up(tmp_path: Path, size: int, strategy: str) -> None:
    model = publish_clean(tmp_path, "stateful")

    def direct(said: ModelConfig) -> None:
        said.max_batch_size = size
        said.sequence_batching.ClearField("oldest")
        if strategy:
            said.sequence_batching.direct.SetInParent()

    config(direct)(model)
    assert ("direct-without-ready" in rules_found(model.parent)) == (size == 8)
    control = ModelSequenceBatching.Control.CONTROL_SEQUENCE_READY
    config(lambda said: said.sequence_batching.control_input.add(name="x").control.add(kind=control))(model)
    assert "direct-without-ready" not in rules_found(model.parent)
    config(lambda said: said.sequence_batching.ClearField("control_input"))(model)
    config(lambda said: setattr(said, "backend", "python"))(model)  # its code knows a request of no sequence
    assert "direct-without-ready" not in rules_found(model.parent)


def test_a_warm_up_of_states_is_to_go_and_nothing_in_it_to_be_mended(tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "stateful")

    def warm(said: ModelConfig) -> None:
        sample = said.model_warmup.add(name="of a size that no batcher forms", batch_size=64)
        sample.inputs["x"].input_data_file = "not there"

    config(warm)(model)
    (finding,) = lint_model(model, cores=CORES)
    assert (finding.rule, finding.severity) == ("warm-up-of-states", "error")
    apply_fixes(model, [finding])
    assert lint_model(model, cores=CORES) == []


def test_cores_of_a_gpu_instance_do_not_count(tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "classify")

    def on_gpu(said: ModelConfig) -> None:
        said.instance_group[0].count = 9
        said.instance_group[0].kind = ModelInstanceGroup.Kind.KIND_GPU

    config(on_gpu)(model)
    assert not lint_model(model, cores=CORES)


def test_how_pictures_are_prepared_is_known_and_checked(tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "classify")
    config(lambda said: setattr(said.parameters["picture_fit"], "string_value", "stretch"))(model)
    assert rules_found(model.parent) == set()
    config(lambda said: setattr(said.parameters["picture_fit"], "string_value", "contain"))(model)
    (finding,) = lint_model(model, cores=CORES)
    assert (finding.rule, finding.found, finding.wanted) == (
        "parameter-value",
        "picture_fit is 'contain'",
        "crop, stretch",
    )
    config(lambda said: said.parameters.pop("picture_fit"))(model)
    config(lambda said: setattr(said.parameters["picture_gamma"], "string_value", "2.2"))(model)
    assert rules_found(model.parent) == {"parameter-value"}


def test_the_command_exits_by_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = publish_clean(tmp_path, "classify")
    assert lint(repository=model.parent) == 0
    config(lambda said: setattr(said, "name", "another"))(model)
    assert lint(repository=model.parent) == 1
    assert "name-mismatch" in capsys.readouterr().out
    assert lint(repository=model.parent, json=True, fix=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == []
    assert '-name: "another"' in said["changed"]
    with pytest.raises(ServingError, match=r"no model 'nosuch' in .*; there are classify"):
        lint(("nosuch",), repository=model.parent)
    with pytest.raises(ServingError, match="unknown release"):
        lint(repository=model.parent, triton="1.0")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("target", [None, "x86-vnni", "arm", "gpu"])
def test_what_saturates_without_vnni_is_found_for_such_a_target_alone(tmp_path: Path, target: Any) -> None:
    name, harm = CASES["int8-saturates"]
    model = publish_clean(tmp_path, name)
    harm(model)
    assert lint_model(model, cores=CORES, target=target) == []
    assert [finding.rule for finding in lint_model(model, cores=CORES, target="x86")] == ["int8-saturates"]
    (tmp_path / "seven").mkdir()
    seven_bits = publish_clean(tmp_path / "seven", name)
    graph(partial(quantize, largest=64))(seven_bits)
    assert lint_model(seven_bits, cores=CORES, target="x86") == []
