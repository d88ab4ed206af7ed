"""What loads is served, what does not is named with its own last words, and a death is blamed on its cause."""

import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from serving.errors import ServingError
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.live.test_serving import FREE_PORTS, command, one_line, put, run, wait_for
from tests.support.calls import PROTOCOLS, infer

SCRIPT = """
import ctypes, os, sys
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        {complete}
        return config

    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        {execute}
"""
CONFIG = """
backend: "python"
input {{ name: "x" data_type: TYPE_FP32 dims: [1] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [1] }}
instance_group {{ count: 1 kind: KIND_CPU }}
"""
DEADLY = {
    "segfaults": ({"initialize": "ctypes.string_at(0)"}, "the process of segfaults_0_0 was killed by SIGSEGV"),
    "killed": ({"initialize": "os.kill(os.getpid(), 9)"}, "the process of killed_0_0 was killed by SIGKILL"),
    "aborts": ({"initialize": "os.abort()"}, "the process of aborts_0_0 was killed by SIGABRT"),
    "exits": ({"initialize": "os._exit(3)"}, "the process of exits_0_0 ended with exit code 3"),
    "raises": ({"initialize": "raise RuntimeError('its own words')"}, "RuntimeError: its own words"),
    "stuck": ({"complete": "os.kill(os.getpid(), 9)"}, "the process of stuck was killed by SIGKILL"),
}


def script(repository: Path, name: str, **lines: str) -> None:
    """A model of Triton's Python backend with these lines in its methods."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text(CONFIG.format())
    text = SCRIPT.format(**{"complete": "pass", "initialize": "pass", "execute": "pass"} | lines)
    (folder / "model.py").write_text(text)


def break_operator(model: Path) -> None:
    said = onnx.load(model / "1" / "model.onnx")
    said.graph.node[0].op_type = "NoSuchOperator"
    (model / "1" / "model.onnx").write_bytes(said.SerializeToString())


def prefer_too_much(model: Path) -> None:
    file = model / "config.pbtxt"
    file.write_text(file.read_text().replace("dynamic_batching {", "dynamic_batching {\n  preferred_batch_size: 64"))


def append(model: Path, text: str) -> None:
    file = model / "config.pbtxt"
    file.write_text(file.read_text() + text)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "operator": (break_operator, "operator/1/model.onnx: NoSuchOperator of opset"),
    "field": (lambda model: append(model, "\nnonsense: 3\n"), 'has no field named "nonsense"'),
    "syntax": (lambda model: append(model, "\ninput {{{\n"), "Expected identifier or number, got {"),
    "version": (lambda model: (model / "1").rename(model / "one"), "no version; wanted: a folder named by a number"),
    "batch": (prefer_too_much, "preferred_batch_size: [64]; wanted: sizes from 1 to 8"),
    "two words": (lambda model: None, "its folder's name has to be of letters"),
    "käse": (lambda model: None, "its folder's name has to be of letters"),
}


def publish_broken(repository: Path) -> None:
    for name, (harm, _) in BROKEN.items():
        put(repository)
        model = (repository / "affine").rename(repository / name)
        (model / "config.pbtxt").write_text((model / "config.pbtxt").read_text().replace('"affine"', f'"{name}"'))
        harm(model)
    put(repository)


def test_each_death_has_its_own_words_and_the_others_are_served(tmp_path: Path) -> None:
    repository = tmp_path / "artifacts" / "models"
    publish_broken(repository)
    for name, (lines, _) in DEADLY.items():
        script(repository, name, **lines)
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, exit_on_error=False, timeout=60) as server:
        assert infer(server, "http", "affine", {"x": np.ones((1, 4), np.float32)})["total"] == 4
        said = {state.name: state.reason for state in server.not_loaded}
        assert {state.name: state.ready for state in server.states()} == {"affine": True} | dict.fromkeys(said, False)
    for name, words in {name: words for name, (_, words) in (BROKEN | DEADLY).items()}.items():
        assert words in said[name], name
        assert "\n" not in said[name]
        assert "CudaDriverHelper" not in said[name]
        assert "conch-server-" not in said[name], "paths are those of the repository"
    for name, text, rule in (
        ("field", "nonsense: 3", "config-unreadable"),
        ("syntax", "input {{{", "config-unreadable"),
        ("batch", "  preferred_batch_size: 64", "preferred-batch"),
    ):
        file = repository / name / "config.pbtxt"
        assert said[name].startswith(f"{file}:{1 + file.read_text().splitlines().index(text)}: "), "file and line"
        assert said[name].endswith(f"[{rule}]")
    assert said["version"].endswith("[no-version]")
    assert len(said) == len(BROKEN) + len(DEADLY)


def test_the_command_names_what_is_left_out_and_says_so_in_its_exit_code(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    publish_broken(artifacts / "models")
    status = shlex.join([sys.executable, "-m", "conch", "status"])
    asked = f"{status}; test $? = 1 && exit 7"  # status found models that are not ready
    code, output, errors = run("up", *FREE_PORTS, "--", "sh", "-c", asked, artifacts=artifacts)
    assert code == 7, "the command's own code counts more"
    told = dict(re.findall(r"^error: model '(.*?)'.* failed to load: (.*)", errors, re.MULTILINE))
    for name in BROKEN:
        assert told[name] in output, "status says the same"
    code, _, errors = run("up", *FREE_PORTS, "--", "true", artifacts=artifacts)
    assert code == 3
    for name, (_, words) in BROKEN.items():
        (line,) = [line for line in errors.splitlines() if line.startswith(f"error: model '{name}'")]
        assert words in line
    code, _, errors = run("up", "--exit-on-error", *FREE_PORTS, "--", "true", artifacts=artifacts)
    assert code == 1
    assert "model 'two words' failed to load: its folder's name" in one_line(errors)


def test_a_server_that_ends_is_not_blamed_on_a_line_of_its_start(tmp_path: Path) -> None:
    repository = tmp_path / "artifacts" / "models"
    put(repository)
    for number, words in ((signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSEGV, "was killed by SIGSEGV")):
        with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
            os.kill(server.pid, number)
            with pytest.raises(ServingError, match=rf"^tritonserver {words}( in \S+)? \(log: "):  # noqa: PT012
                for _ in range(100):
                    server.check_alive()
                    time.sleep(0.05)


def test_a_process_that_dies_while_it_serves_is_told(tmp_path: Path) -> None:
    repository = tmp_path / "artifacts" / "models"
    put(repository)
    script(repository, "dies", execute="ctypes.string_at(0)")
    process = command("up", *FREE_PORTS, artifacts=tmp_path / "artifacts")
    state = tmp_path / "artifacts" / "server" / "state.json"
    wait_for(state, process)
    code, _, _ = run("down", artifacts=tmp_path / "artifacts")
    assert code == 0
    assert process.wait(30) == 0
    told: list[str] = []
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, on_loss=told.append) as server:
        with pytest.raises(Exception, match="not healthy"):
            infer(server, "http", "dies", {"x": np.ones(1, np.float32)})
        server.check_alive()
        assert "the process of dies_0_0 was killed by SIGSEGV: its share of requests fails" in told[0]
        assert infer(server, "http", "affine", {"x": np.ones((1, 4), np.float32)})["total"] == 4


def test_a_process_of_the_kits_own_backend_ends_in_order(tmp_path: Path) -> None:
    """It gives its metric back while there is a server to take it; else it ends with a segmentation fault."""
    repository = tmp_path / "artifacts" / "models"
    put(repository)
    log = tmp_path / "triton.log"
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, log_file=log):
        pass
    assert "Fatal Python error" not in log.read_text()


def test_the_repository_may_lie_anywhere(tmp_path: Path) -> None:
    names = (
        "two words",
        "käse",
        "日本語",
        "a; touch pwned",
        "it's `$(touch pwned)` \"",
        "new\nline\t\x01",
        "-x",
        "s3:",
        "a%20#b\\",
    )
    real = tmp_path.joinpath(*names, "[red]*?[/]", os.fsdecode(b"\xff\xfe"), "long" * 60, "trailing ")
    put(tmp_path / "plain" / "models")
    shutil.copytree(tmp_path / "plain" / "models", real / "models")
    (tmp_path / "a link").symlink_to(real)
    repository = tmp_path / "a link" / "models"
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, timeout=60) as server:
        assert [state.ready for state in server.states()] == [True]


def test_what_is_declared_less_than_the_session_knows_is_served(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.eye(4, 6, dtype=np.float32), "weight")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "declared",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", 2, 4])],
        [onnx.helper.make_tensor_value_info("y", 1, ["batch", 2, "width"])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "declared.onnx")
    publish_file(tmp_path / "declared.onnx", "declared", tmp_path / "models")
    with Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        answer = infer(server, "grpc", "declared", {"x": np.ones((3, 2, 4), np.float32)})
        np.testing.assert_array_equal(answer["y"], np.ones((3, 2, 4)) @ np.eye(4, 6))


def test_loopback_is_never_asked_of_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    put(tmp_path / "artifacts" / "models")
    own = "import os, sys; [os.environ.pop(name) for name in ('no_proxy', 'NO_PROXY')]\n"  # what `up` adds for others
    client = "from clients import connect\nwith connect(protocol=sys.argv[1]) as client: assert client.ready()\n"
    load = (
        "import locust\n"
        "from clients.address import resolve\n"
        "from loadtest.served import served_versions\n"
        "assert served_versions(resolve(protocol=sys.argv[1])) == {'affine': ['1']}\n"
    )
    bare = (
        "import os; from tritonclient.grpc import InferenceServerClient\n"
        "assert InferenceServerClient(os.environ['CONCH_GRPC']).is_server_ready(client_timeout=10)\n"
    )
    # Each has a process: the load test's gRPC has to be told of gevent before there is any channel.
    asked = [(own + script, protocol) for script in (client, load) for protocol in PROTOCOLS]
    each = [shlex.join([sys.executable, "-c", *words]) for words in (*asked, (bare,))]
    code, _, errors = run("up", *FREE_PORTS, "--", "sh", "-c", " && ".join(each), artifacts=tmp_path / "artifacts")
    assert code == 0, errors
