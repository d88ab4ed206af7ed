"""Each rule of the linter finds what it is for, and nothing else does; a clean repository has no findings."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup, ModelSequenceBatching

from serving.configuration import parse, render
from serving.errors import ServingError
from serving.lint.check import lint_model, models_of
from serving.lint.command import lint
from serving.lint.findings import RULES
from serving.lint.fixing import apply_fixes
from serving.publish import publish
from serving.releases import find_release
from tests.live import graphs

# A running sum and a running largest value: two states of different shapes.
STATEFUL = """
stateful (float[batch, 1] x, float[batch, 1] a_in, float[batch, 2] b_in)
    => (float[batch, 1] y, float[batch, 1] a_out, float[batch, 2] b_out)
{ a_out = Add(x, a_in)
  b_out = Max(x, b_in)
  y = Neg(a_out) }
"""
STATES = (("a_in", "a_out"), ("b_in", "b_out"))
CORES = 2

Harm = Callable[[Path], object]


def config(change: Callable[[ModelConfig], object]) -> Harm:
    """Change the configuration of the model."""

    def harm(model: Path) -> None:
        file = model / "config.pbtxt"
        said = parse(file.read_text())
        change(said)
        file.write_text(render(said))

    return harm


def graph(change: Callable[[onnx.ModelProto], object]) -> Harm:
    """Change the ONNX file."""

    def harm(model: Path) -> None:
        file = model / "1" / "model.onnx"
        said = onnx.load(file)
        change(said)
        onnx.save(said, file)

    return harm


def hide(model: Path) -> None:
    (model.parent / ".cache").mkdir()


def fix_batch(said: onnx.ModelProto) -> None:
    for value in (*said.graph.input, *said.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 2


def leave_data_out(model: Path) -> None:
    """Weights in a file beside, which is not there."""
    file = model / "1" / "model.onnx"
    said = onnx.load(file)
    for tensor in said.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(said, file, save_as_external_data=True, size_threshold=0, location="weights")
    (model / "1" / "weights").unlink()


def accelerate(name: str, **parameters: str) -> Harm:
    def change(said: ModelConfig) -> None:
        entry = said.optimization.execution_accelerators.gpu_execution_accelerator.add(name=name)
        entry.parameters.update(parameters)

    return config(change)


def uncomplete(said: ModelConfig) -> None:
    """What somebody writes who leaves the rest to Triton."""
    said.max_batch_size = 0
    for field in ("input", "output", "dynamic_batching", "model_warmup"):
        said.ClearField(field)


def add_control(said: ModelConfig) -> None:
    control = said.sequence_batching.control_input.add(name="START").control.add()
    control.kind = ModelSequenceBatching.Control.CONTROL_SEQUENCE_START
    control.int32_false_true[:] = [0, 1]


def swap(said: ModelConfig) -> None:
    """Pair the two states crosswise; both have the shape of the first."""
    first, second = said.sequence_batching.state
    first.output_name, second.output_name = second.output_name, first.output_name


def warm_states(said: ModelConfig) -> None:
    sample = said.model_warmup.add(name="one", batch_size=1)
    sample.inputs["x"].data_type = DataType.TYPE_FP32
    sample.inputs["x"].dims.append(1)
    sample.inputs["x"].zero_data = True
    for size in (2, 4, 8):
        said.model_warmup.add(name=str(size), batch_size=size).inputs["x"].CopyFrom(sample.inputs["x"])


def set_dims(said: ModelConfig) -> None:
    said.output[0].dims[:] = [-1]


def prefer(said: ModelConfig) -> None:
    said.dynamic_batching.preferred_batch_size[:] = [4, 64]


def specific(*versions: int) -> Harm:
    return config(lambda said: said.version_policy.specific.versions.extend(versions))


def add_folder(name: str) -> Harm:
    return lambda model: (model / name).mkdir()


def clear(field: str) -> Harm:
    return config(lambda said: said.ClearField(field))


CASES: dict[str, tuple[str, Harm]] = {
    "hidden-folder": ("classify", hide),
    "config-unreadable": ("classify", lambda model: (model / "config.pbtxt").write_text("input [ { nam: 'x' } ]\n")),
    "no-config": ("classify", lambda model: (model / "config.pbtxt").unlink()),
    "name-mismatch": ("classify", config(lambda said: setattr(said, "name", "another"))),
    "unknown-backend": ("classify", config(lambda said: setattr(said, "backend", "onnxruntme"))),
    "no-version": ("classify", lambda model: shutil.rmtree(model / "1")),
    "missing-version": ("classify", specific(1, 7)),
    "version-without-model": ("classify", lambda model: (model / "1" / "model.onnx").unlink()),
    "empty-file": ("classify", lambda model: (model / "1" / "model.onnx").write_bytes(b"")),
    "stray-folder": ("classify", add_folder("02")),
    "unreadable-graph": ("classify", lambda model: (model / "1" / "model.onnx").write_bytes(b"no model")),
    "external-data": ("classify", leave_data_out),
    "opset-too-new": ("classify", graph(lambda said: setattr(said.opset_import[0], "version", 99))),
    "ir-too-new": ("classify", graph(lambda said: setattr(said, "ir_version", 99))),
    "tensor-not-servable": (
        "classify",
        graph(lambda said: setattr(said.graph.output[0].type.tensor_type, "elem_type", onnx.TensorProto.BFLOAT16)),
    ),
    "tensor-name": ("classify", config(lambda said: setattr(said.output[0], "name", "probabilitys"))),
    "tensor-type": ("classify", config(lambda said: setattr(said.output[0], "data_type", DataType.TYPE_FP64))),
    "tensor-shape": ("classify", config(set_dims)),
    "batch-axis": ("classify", graph(fix_batch)),
    "batch-auto-completed": ("classify", config(uncomplete)),
    "labels-missing": ("classify", lambda model: (model / "labels.txt").unlink()),
    "labels-count": ("classify", lambda model: (model / "labels.txt").write_text("cat\ndog\n")),
    "preferred-batch": ("classify", config(prefer)),
    "queue-delay": (
        "classify",
        config(lambda said: setattr(said.dynamic_batching, "max_queue_delay_microseconds", 2_000_000)),
    ),
    "never-batched": ("classify", clear("dynamic_batching")),
    "too-many-threads": ("classify", config(lambda said: setattr(said.instance_group[0], "count", 9))),
    "parameter-value": (
        "classify",
        config(lambda said: setattr(said.parameters["intra_op_thread_count"], "string_value", "99999999999")),
    ),
    "unknown-parameter": (
        "classify",
        config(lambda said: setattr(said.parameters["intra_op_threads"], "string_value", "1")),
    ),
    "cuda-option-overwritten": ("classify", accelerate("cuda", cudnn_conv_algo_search="DEFAULT")),
    "unknown-accelerator": ("classify", accelerate("tensort")),
    "no-warm-up": ("classify", clear("model_warmup")),
    "warm-up-sizes": ("classify", config(lambda said: setattr(said, "max_batch_size", 16))),
    "warm-up-input": ("classify", lambda model: (model / "warmup" / "1" / "image").write_bytes(b"12")),
    "warm-up-of-states": ("stateful", config(warm_states)),
    "state-not-in-graph": (
        "stateful",
        config(lambda said: setattr(said.sequence_batching.state[1], "output_name", "c_out")),
    ),
    "state-tensor": (
        "stateful",
        config(lambda said: setattr(said.sequence_batching.state[0], "data_type", DataType.TYPE_FP16)),
    ),
    "states-swapped": ("alike", config(swap)),
    "state-uninitialised": (
        "stateful",
        config(lambda said: said.sequence_batching.state[0].ClearField("initial_state")),
    ),
    "control-not-in-graph": ("stateful", config(add_control)),
}
"""Rule -> the clean model that it begins with, and what makes it find something."""

FIXED = {
    "name-mismatch", "missing-version", "tensor-type", "tensor-shape", "preferred-batch", "never-batched",
    "cuda-option-overwritten", "no-warm-up", "warm-up-sizes", "warm-up-of-states", "state-uninitialised",
}  # fmt: skip
"""The rules whose finding `--fix` mends."""


def publish_clean(folder: Path, name: str) -> Path:
    """A model as `publish` writes it, alone in its repository; its folder."""
    text, labels, states = {
        "classify": (graphs.CLASSIFY, {"probabilities": ("cat", "dog", "bird")}, ()),
        "stateful": (STATEFUL, {}, STATES),
        "alike": (STATEFUL.replace("[batch, 2]", "[batch, 1]"), {}, STATES),
    }[name]
    file = graphs.write(text, folder / "model.onnx")
    publish(
        file,
        name=name,
        repository=folder / "models",
        max_batch_size=8,
        manifest={},
        parity=[],
        golden=graphs.golden(file),
        labels=labels,
        states=states,
    )
    return folder / "models" / name


def rules_found(repository: Path) -> set[str]:
    return {finding.rule for model in models_of(repository, ()) for finding in lint_model(model, cores=CORES)}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)
    assert all(rule.about.endswith(".") for rule in RULES.values()), "each says in a sentence what it is about"


@pytest.mark.parametrize("name", ["classify", "stateful", "alike"])
def test_what_publish_writes_is_clean(tmp_path: Path, name: str) -> None:
    assert rules_found(publish_clean(tmp_path, name).parent) == set()


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_what_it_is_for_and_no_other_does(tmp_path: Path, rule: str) -> None:
    name, harm = CASES[rule]
    model = publish_clean(tmp_path, name)
    harm(model)
    assert rules_found(model.parent) == {rule}
    (finding, *_) = [f for folder in models_of(model.parent, ()) for f in lint_model(folder, cores=CORES)]
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


def test_an_error_keeps_a_model_from_being_published(tmp_path: Path) -> None:
    said = onnx.load(graphs.write(graphs.AFFINE, tmp_path / "affine.onnx"))
    said.opset_import[0].version = 99
    onnx.save(said, tmp_path / "new.onnx")
    golden = graphs.golden(tmp_path / "affine.onnx")
    with pytest.raises(ServingError, match=r"nothing was published: .*opset 99; wanted: at most 26 for Triton 26\.09"):
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


def test_cores_of_a_gpu_instance_do_not_count(tmp_path: Path) -> None:
    model = publish_clean(tmp_path, "classify")

    def on_gpu(said: ModelConfig) -> None:
        said.instance_group[0].count = 9
        said.instance_group[0].kind = ModelInstanceGroup.Kind.KIND_GPU

    config(on_gpu)(model)
    assert not lint_model(model, cores=CORES)


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
