"""What must not be served is refused in one line, and nothing of it reaches the repository."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from conch.contracts.comparison import TOLERANCES
from serving.errors import ServingError
from serving.repository.foreign import publish_file
from tests.support import graphs

HEADER = '<ir_version: 10, opset_import: ["": 20]>'
PLAIN = HEADER + "g (float[n, 40] x) => (float[n, 40] y) { y = Neg(x) }"


def plain(folder: Path) -> Path:
    """A good model."""
    return save(parser.parse_model(PLAIN), folder)


def save(model: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def text(body: str) -> Callable[[Path], Path]:
    """A model in ONNX's text format."""
    return lambda folder: save(parser.parse_model(HEADER + body), folder)


def external(location: str, **entries: str) -> Callable[[Path], Path]:
    """A model whose 160 bytes of weights are said to be in `location`; "weights" has them."""

    def write(folder: Path) -> Path:
        weights = np.arange(40, dtype=np.float32)
        (folder / "weights").write_bytes(weights.tobytes())
        tensor = numpy_helper.from_array(weights, "w")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)
        model = parser.parse_model(HEADER + "g (float[n, 40] x) => (float[n, 40] y) { y = Mul(x, w) }")
        model.graph.initializer.append(tensor)
        return save(model, folder)

    return write


def beside(make: Callable[[Path], object], write: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """The model of `write`, with something made in its folder."""

    def both(folder: Path) -> Path:
        file = write(folder)
        make(folder)
        return file

    return both


def secret(folder: Path) -> Path:
    """A file outside the model's folder, as long as the weights."""
    file = folder.parent / "secret"
    file.write_bytes(bytes(160))
    return file


def linked_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "weights").write_bytes(bytes(160))
    (folder / "parts").symlink_to(folder.parent / "elsewhere")


def cut(size: int) -> Callable[[Path], Path]:
    """A good model without its last `size` bytes."""

    def write(folder: Path) -> Path:
        file = plain(folder)
        file.write_bytes(file.read_bytes()[:-size])
        return file

    return write


def of_bytes(content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "model.onnx").write_bytes(content)
        return folder / "model.onnx"

    return write


def three_gigabytes(folder: Path) -> Path:
    file = plain(folder)
    os.truncate(file, 3 * 2**30)  # sparse: it takes no room on the disk
    return file


def nodes(*lines: tuple[str, str, str], domain: str = "") -> Callable[[Path], Path]:
    """A model of (operator, input, output) that onnx's own parser might refuse."""

    def write(folder: Path) -> Path:
        made = [helper.make_node(op, [i], [o], name=f"{op}_{o}", domain=domain) for op, i, o in lines]
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 40]) for name in ("x", "y")]
        graph = helper.make_graph(made, "g", values[:1], values[1:])
        opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
        return save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder)

    return write


def opset(version: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        model = parser.parse_model(PLAIN)
        model.opset_import[0].version = version
        return save(model, folder)

    return write


def hidden_in_a_branch(folder: Path) -> Path:
    """External data of a tensor that is a constant inside a branch of an If, where a shallow check does not look."""
    model = parser.parse_model(
        HEADER
        + """g (float[n, 40] x, bool flag) => (float[n, 40] y)
        { y = If (flag) <then_branch = t () => (float[n, 40] a) { w = Constant <value = float {1}> () a = Mul(x, w) },
                         else_branch = e () => (float[n, 40] b) { b = Abs(x) }> }"""
    )
    tensor = model.graph.node[0].attribute[0].g.node[0].attribute[0].t
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    secret(folder)
    return save(model, folder)


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such file": (lambda folder: folder / "none.onnx", "there is no ONNX file of that name"),
    "a folder": (lambda folder: folder, "there is no ONNX file of that name"),
    "an empty file": (of_bytes(b""), "model.onnx is empty"),
    "a text file": (of_bytes(b"# a model\n"), "is no readable ONNX file .*damaged, truncated or of another format"),
    "a pickle": (of_bytes(b"\x80\x04K\x01."), "is no readable ONNX file"),
    "truncated": (cut(20), "is no readable ONNX file .*damaged, truncated"),
    "truncated between fields": (cut(len(b"\x42\x04\x0a\x00\x10\x14")), "names no operator set, it is damaged"),
    "over 2 GB": (three_gigabytes, "has 3,221,225,472 bytes, an ONNX file has at most 2,147,483,647 .*external data"),
    "a folder above": (beside(secret, external("../secret")), r"are in '../secret'; allowed is .* without '\.\.'"),
    "there and back": (external("a/../weights"), r"are in 'a/../weights'; allowed is"),
    "an absolute path": (external("/etc/passwd"), "are in '/etc/passwd'; allowed is the name of a file inside"),
    "another system's path": (external("..\\secret"), "allowed is the name of a file inside"),
    "no path": (external(""), "are in ''; allowed is the name of a file inside"),
    "a link": (
        beside(lambda folder: (folder / "link").symlink_to(secret(folder)), external("link")),
        "are in 'link', which is reached by a link; put a copy in its place",
    ),
    "a linked folder": (beside(linked_folder, external("parts/weights")), "'parts/weights', which is reached by"),
    "a link inside": (
        beside(lambda folder: (folder / "link").symlink_to("weights"), external("link")),
        "are in 'link', which is reached by a link",
    ),
    "a circle of links": (beside(lambda folder: (folder / "link").symlink_to("link"), external("link")), "in 'link'"),
    "a hard link": (
        beside(lambda folder: os.link(secret(folder), folder / "twin"), external("twin")),
        "are in 'twin', which has 2 hard links",
    ),
    "a pipe": (beside(lambda folder: os.mkfifo(folder / "pipe"), external("pipe")), "'pipe', which is no plain file"),
    "a folder as data": (beside(lambda folder: (folder / "d").mkdir(), external("d")), "'d', which is no plain file"),
    "inside a branch": (hidden_in_a_branch, r"are in '../secret'; allowed is"),
    "missing data": (external("none"), r"are in 'none', which cannot be read \(No such file or directory\)"),
    "a name of ours": (external("golden.npz"), "are in 'golden.npz', a name that a published version needs"),
    "data that end early": (external("weights", length="400"), "are bytes 0 to 400 of 'weights', which has 160"),
    "data past the end": (external("weights", offset="8192", length="160"), "are bytes 8,192 to 8,352 of 'weights'"),
    "a negative offset": (external("weights", offset="-1"), "have the offset '-1', it must be a number of bytes"),
    "a length in words": (external("weights", length="all"), "have the length 'all', it must be a number of bytes"),
    "a length that lies": (external("weights", length="80"), "ONNX Runtime .* does not load it"),
    "custom operators": (
        nodes(("Magic", "x", "y"), domain="com.example"),
        "node 'Magic_y' is Magic of the domain 'com.example', which ONNX Runtime does not have",
    ),
    "an unknown operator": (nodes(("Magic", "x", "y")), "ONNX Runtime .* does not load it: .*Magic"),
    "an opset to come": (opset(999), "ONNX Runtime .* does not load it: .*999"),
    "one name twice": (nodes(("Neg", "x", "y"), ("Abs", "x", "y")), "2 tensors have the name 'y'"),
    "an input made again": (nodes(("Neg", "x", "x"), ("Abs", "x", "y")), "2 tensors have the name 'x'"),
    "a cycle": (nodes(("Neg", "b", "a"), ("Abs", "a", "b"), ("Neg", "b", "y")), "the graph has a cycle: .*_[ab] -> "),
    "from nowhere": (nodes(("Neg", "z", "y")), "ONNX Runtime .* does not load it: .*'?z"),
    "no operators": (lambda folder: save(onnx.ModelProto(ir_version=10), folder), "it is no ONNX model"),
    "bfloat16": (
        text("g (bfloat16[n] x) => (bfloat16[n] y) { y = Identity(x) }"), r"type tensor\(bfloat16\), which cannot"
    ),
    "a sequence": (
        text("g (seq(float[n]) x) => (float[n] y) <int64 first = {0}> { y = SequenceAt(x, first) }"),
        "input 'x' is a sequence, requests carry tensors; export it with those",
    ),
    "an optional": (
        text("g (optional(float[n]) x) => (float[n] y) { y = OptionalGetElement(x) }"),
        "input 'x' is an optional, requests carry tensors",
    ),
    "a map": (
        text("g (map(int64, float[1]) x) => (float[n] y) { y = Identity(x) }"),
        "input 'x' is a map, requests carry tensors",
    ),
}  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a model in it."""
    (tmp_path / "good").mkdir()
    publish_file(plain(tmp_path / "good"), "good", tmp_path / "models")
    return tmp_path / "models"


def everything(folder: Path) -> dict[str, str]:
    """Every path under `folder`, hidden ones too, with its content's hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused(case: str, repository: Path, tmp_path: Path) -> None:
    write, message = HOSTILE[case]
    (tmp_path / "theirs").mkdir()
    file = write(tmp_path / "theirs")
    before = everything(repository), sorted(tmp_path.iterdir())
    for name in ("good", "new"):
        with pytest.raises(ServingError, match=message) as raised:
            publish_file(file, name, repository)
        assert "\n" not in str(raised.value)
    assert (everything(repository), sorted(tmp_path.iterdir())) == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", "/abs", ".hidden", "nul\0", "new\nline", "a\\b", "ä"])
def test_a_name_that_is_no_file_name_is_refused(name: str, repository: Path, tmp_path: Path) -> None:
    before = everything(tmp_path)
    with pytest.raises(ServingError, match="no safe folder name"):
        publish_file(tmp_path / "good" / "model.onnx", name, repository)
    assert everything(tmp_path) == before


def test_the_good_ones_of_these_are_published(repository: Path, tmp_path: Path) -> None:
    """What the table's models have in common is not what they are refused for."""
    for name, write in {"plain": plain, "external": external("weights"), "pi": external("./weights")}.items():
        (tmp_path / name).mkdir()
        version, trial = publish_file(write(tmp_path / name), name, repository)
        assert trial.max_batch_size == 32
        assert (version / "weights").is_file() == (name != "plain")
        said = json.loads((version / "manifest.json").read_text())["tolerance"]
        assert {dtype: tuple(allowed) for dtype, allowed in said.items()} == TOLERANCES


@pytest.mark.slow
def test_the_command_says_it_in_one_line(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    file = external("../secret")(tmp_path / "theirs")
    done = subprocess.run(
        [sys.executable, "-m", "serving", "publish", str(file), "--name", "new", "--repository", str(repository)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: model 'new': ")
    assert done.stderr.count("\n") == 1


def test_more_than_batches_bear_out_is_refused(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    mixing = text("g (float[n, 3] x) => (float[n, 3] y) { y = Softmax<axis = 0>(x) }")(tmp_path / "theirs")
    with pytest.raises(ServingError, match="cannot be served in batches: output 'y' of row 0 in a batch of 2 is not"):
        publish_file(mixing, "mixing", repository, max_batch=8)
    fixed = graphs.write(graphs.UNBATCHED, tmp_path / "theirs" / "fixed.onnx")
    with pytest.raises(ServingError, match="the first axis of input 'x' is fixed to 2; use --max-batch 0"):
        publish_file(fixed, "fixed", repository, max_batch=8)
    assert [path.name for path in repository.iterdir()] == ["good"]
