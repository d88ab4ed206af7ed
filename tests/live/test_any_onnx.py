"""ONNX files that Conch did not make are published by their file alone and answer as they do in this process."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tritonclient.utils import InferenceServerException

from serving.repository.configuration import parse, render
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support.calls import PROTOCOLS, infer
from tests.support.foreign_models import NODE_CASES, Foreign, collect
from tests.support.loads import load_everything, tune_measures

MODELS = {foreign.name: foreign for foreign in collect()}
KINDS = (
    "every_type",
    "outside",  # its weights are in a second file
    "branch",  # a subgraph, and a number beside a batch
    "mixes_rows",  # nothing but running it shows that it takes no batch
    "odd_names",
    "contributed",  # an operator of ONNX Runtime's own
    "own_function",
    "scalars",
    "keeps_positive",  # the input's values decide the output's shape
    "logarithm",  # infinities
    "shouting",  # text, NUL bytes in it
    "legacy",  # IR 3: weights that are inputs
    "shapeless",
    "test_split_zero_size_splits_opset18",  # axes of length 0
    "test_ai_onnx_ml_label_encoder_string_int",  # an operator set beside ONNX's
    "test_gru_seq_length",  # optional inputs left out
    "test_loop11",
    "test_qlinearmatmul_2D_int8_float16",
    "test_strnorm_model_nostopwords_nochangecase",  # text of a given shape
    "test_Conv2d_depthwise_strided",  # PyTorch's exporter of 2017
)
"""One of each kind, for `make test`; the rest are other operators of the same kinds, for `make test-long`."""
GROUPS = {"kinds": KINDS, "rest": tuple(name for name in MODELS if name not in KINDS)}
GROUP = [pytest.param("kinds"), pytest.param("rest", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every model of a group as a file, and `models` with all of them published."""
    folder = tmp_path_factory.mktemp("foreign")
    for name in GROUPS[request.param]:
        _publish(MODELS[name], folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A Triton of its own: one process a model is enough here, and is gone after this file."""
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0, timeout=280) as server:
        yield server


def _publish(foreign: Foreign, folder: Path) -> None:
    file = folder / f"{foreign.name}.onnx"
    onnx.save(foreign.model, file)
    if foreign.name == "outside":
        (folder / "parts").mkdir()
        model = onnx.load(file)
        for tensor in model.graph.initializer:  # raw bytes, the one form that can be kept outside
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
        onnx.save(model, file, save_as_external_data=True, size_threshold=0, location="parts/outside.weights")
    inputs = None
    if foreign.outputs:  # with data of its own: many such models do not run on any number
        inputs = folder / f"{foreign.name}.npz"
        np.savez(inputs, **{key: a.astype(str) if a.dtype == object else a for key, a in foreign.inputs.items()})
    publish_file(file, foreign.name, folder / "models", inputs_from=inputs)
    config_file = folder / "models" / foreign.name / "config.pbtxt"
    config = parse(config_file.read_text())
    config.instance_group[0].count = 1
    config_file.write_text(render(config))


def _wire(array: np.ndarray, batched: bool) -> np.ndarray:
    """As Triton has it: no empty shape, a number (or a number an item) is in an axis of its own."""
    return array.reshape(-1, 1) if batched and array.ndim == 1 else np.atleast_1d(array)


def _assert_same(got: np.ndarray, expected: np.ndarray, name: str, tolerance: float) -> None:
    assert got.shape == expected.shape, name
    if expected.dtype == object:
        assert [text.decode() for text in got.ravel()] == [str(text) for text in expected.ravel()], name
    else:
        assert got.dtype == expected.dtype, name
        # The error of a sum is that of its largest term.
        largest = float(np.abs(expected.astype(np.float64)).max(initial=1))
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * largest, err_msg=name)


def test_there_are_at_least_forty() -> None:
    assert len(MODELS) >= 40
    assert set(MODELS) == {name for names in GROUPS.values() for name in names}
    assert sum(map(len, NODE_CASES.values())) >= 40, "of the onnx package's operators"
    assert sum(bool(foreign.outputs) for foreign in MODELS.values()) >= 30, "with answers of the onnx package's own"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("folder", GROUP, indirect=True)
def test_each_answers_as_in_this_process(protocol: str, folder: Path, server: Server) -> None:
    for model in (folder / "models").iterdir():
        _assert_answers(model.name, protocol, folder, server)


def _assert_answers(name: str, protocol: str, folder: Path, server: Server) -> None:
    foreign = MODELS[name]
    config = parse((folder / "models" / name / "config.pbtxt").read_text())
    assert (config.max_batch_size > 0) == foreign.batched, name
    sent = {key: _wire(array, foreign.batched) for key, array in foreign.inputs.items()}
    got = infer(server, protocol, name, sent)
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
    answers = dict(zip([o.name for o in session.get_outputs()], session.run(None, foreign.inputs), strict=True))
    assert got.keys() == answers.keys() == {value.name for value in foreign.model.graph.output}
    for key, answer in answers.items():
        _assert_same(got[key], _wire(np.asarray(answer), foreign.batched), f"{name}: {key}", 1e-6)
        if key in foreign.outputs:
            # float16 sums are only as near to the reference implementation's
            tolerance = 1e-2 if got[key].dtype == np.float16 else 1e-5
            _assert_same(got[key], _wire(foreign.outputs[key], foreign.batched), f"{name}: {key}", tolerance)


@pytest.mark.parametrize("folder", ["kinds"], indirect=True)
def test_text_that_is_not_utf8_is_refused_by_name(server: Server) -> None:
    sent = {"x": np.array([b"ok", b"\xff"], dtype=object)}
    foreign = MODELS["test_strnorm_model_nostopwords_nochangecase"]
    with pytest.raises(InferenceServerException, match=r"input 'x' holds text that is not UTF-8"):
        infer(server, "grpc", foreign.name, sent)


@pytest.mark.parametrize("folder", GROUP, indirect=True)
def test_golden_answers_are_the_files_own(folder: Path) -> None:
    for model in (folder / "models").iterdir():
        name, foreign = model.name, MODELS[model.name]
        with np.load(model / "1" / "golden.npz", allow_pickle=False) as golden:
            assert {f"inputs/{key}" for key in foreign.inputs} < set(golden)
            rows = {len(golden[key]) for key in golden}
            assert rows == {8 if foreign.batched else 1}, name


@pytest.mark.parametrize("folder", GROUP, indirect=True)
def test_a_load_of_them_all_finds_every_answer_right(folder: Path, server: Server) -> None:
    """Scalars, numbers an item, axes of length 0, text, infinities, and answers whose shape the inputs decide."""
    run = load_everything(server, folder)
    assert {part["model"] for part in run["parts"]} == {model.name for model in (folder / "models").iterdir()}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("folder", GROUPS, indirect=True)
def test_tune_measures_each_of_them(folder: Path, tmp_path: Path) -> None:
    tune_measures(folder / "models", sorted(model.name for model in (folder / "models").iterdir()), tmp_path / "log")
