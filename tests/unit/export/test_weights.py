"""Weights as people have them: each file has one reading, or the error shows both sides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from conch.contracts.errors import ConchError
from export.modules.module_weights import load_torch_weights, load_weights
from tests.support.module_command import Module, published

State = dict[str, Any]


class Net(nn.Module):
    """Two layers and a batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
        self.register_buffer("places", torch.arange(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.rest(self.norm(self.first(x)))
        return scores


class Tied(nn.Module):
    """A language model whose output layer is its embedding."""

    def __init__(self, tie: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        if tie:
            self.head.weight = self.embed.weight


class Wrapped(nn.Module):
    """As a user wraps somebody else's module."""

    def __init__(self) -> None:
        super().__init__()
        self.theirs = Net()


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make().eval()


def state(prefix: str = "", seed: int = 1) -> State:
    """Of a `Net`, its names behind `prefix`."""
    return {f"{prefix}{name}": tensor for name, tensor in seeded(Net, seed).state_dict().items()}


def compiled_inside() -> State:
    net = Net()
    net.rest = torch.compile(net.rest)  # type: ignore[assignment]
    net.load_state_dict({name.replace("rest.", "rest._orig_mod."): value for name, value in state().items()})
    return net.state_dict()


def without_counts() -> State:
    return {name: tensor for name, tensor in state().items() if "num_batches" not in name}


def adam() -> State:
    """A trainer's optimizer after a step."""
    net = seeded(Net, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


TORCH_FILES: dict[str, Callable[[], Any]] = {
    "as it is": state,
    "DataParallel": lambda: nn.DataParallel(seeded(Net, 1)).state_dict(),
    "torch.compile": lambda: torch.compile(seeded(Net, 1)).state_dict(),  # type: ignore[attr-defined]
    "a part compiled": compiled_inside,
    "DataParallel of torch.compile": lambda: state("module._orig_mod."),
    "Lightning": lambda: {"state_dict": state("model."), "epoch": 3, "optimizer_states": [adam()]},
    "Lightning, compiled": lambda: {"state_dict": state("net._orig_mod."), "callbacks": {"x": {"best": torch.ones(1)}}},
    "Lightning with a loss": lambda: state("model.") | {"loss.weight": torch.ones(2)},
    "a trainer": lambda: {"model": state(), "optimizer": adam(), "epoch": 3},
    "a trainer's DataParallel": lambda: {"model_state_dict": state("module."), "args": {"lr": 0.1}},
    "nested twice": lambda: {"models": {"net": state(), "other": {"w": torch.ones(2)}}},
    "twice the same": lambda: {"model": state(), "ema": state()},
    "an averaged model": lambda: torch.optim.swa_utils.AveragedModel(seeded(Net, 1)).state_dict(),
    "parts": lambda: {part: getattr(seeded(Net, 1), part).state_dict() for part in ("first", "norm", "rest")},
    "without counts": without_counts,
    "a buffer that is not kept": lambda: state() | {"places": torch.arange(3)},
}


@pytest.mark.parametrize("case", TORCH_FILES)
def test_names_as_people_have_them(case: str, tmp_path: Path) -> None:
    torch.save(TORCH_FILES[case](), tmp_path / "theirs.pt")
    net = seeded(Net, 0)
    done = load_torch_weights(net, tmp_path / "theirs.pt").done
    expected = state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in net.state_dict().items())
    plain = ("as it is", "without counts", "a buffer that is not kept", "parts")
    assert bool(done) == (case not in plain), "what was done is said"


def compiled() -> Any:
    return torch.compile(Net())


MODULES: dict[str, Callable[[], nn.Module]] = {
    "wrapped by the user": Wrapped,
    "compiled": compiled,
    "DataParallel": lambda: nn.DataParallel(Net()),
}


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod.module."])
@pytest.mark.parametrize("case", MODULES)
def test_a_module_that_is_wrapped_itself(case: str, prefix: str, tmp_path: Path) -> None:
    save_file(state(prefix), tmp_path / "theirs.safetensors")
    module = MODULES[case]()
    load_weights(module, tmp_path / "theirs.safetensors")
    loaded, expected = list(module.state_dict().values()), list(state().values())
    assert all(torch.equal(one, other) for one, other in zip(loaded, expected, strict=True))


def test_what_was_done_is_said(tmp_path: Path) -> None:
    torch.save({"state_dict": state("net._orig_mod.") | {"loss.w": torch.ones(1)}}, tmp_path / "x.ckpt")
    assert load_torch_weights(Net(), tmp_path / "x.ckpt").done == (
        "prefix 'state_dict.net._orig_mod.' of the file taken off; what is not under 'state_dict.net._orig_mod.' left "
        "out: state_dict.loss.w",
    )
    save_file({name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in state().items()},
              tmp_path / "half.safetensors")  # fmt: skip
    assert load_weights(Net(), tmp_path / "half.safetensors").done == ("8 tensors converted from bfloat16 to float32",)


def tied(seed: int = 1) -> nn.Module:
    return seeded(Tied, seed)


@pytest.mark.parametrize("kept", [("embed.weight",), ("head.weight",), ("embed.weight", "head.weight")])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_tied_tensors_may_be_there_once_or_twice(kept: tuple[str, ...], prefix: str, tmp_path: Path) -> None:
    weight = tied().state_dict()["embed.weight"]
    save_file({prefix + name: weight.clone() for name in kept}, tmp_path / "lm.safetensors")
    module = tied(0)
    done = load_weights(module, tmp_path / "lm.safetensors").done
    assert torch.equal(module.get_parameter("head.weight"), weight)
    assert module.get_parameter("head.weight") is module.get_parameter("embed.weight")
    assert any("is not in the file: in the module it is" in sentence for sentence in done) == (len(kept) == 1)


def test_a_file_that_says_what_it_tied_fills_a_module_that_does_not(tmp_path: Path) -> None:
    save_model(tied(), str(tmp_path / "lm.safetensors"))
    module = Tied(tie=False)
    assert load_weights(module, tmp_path / "lm.safetensors").done == ("head.weight is embed.weight, as the file says",)
    assert torch.equal(module.head.weight, tied().get_parameter("embed.weight"))


def test_tied_by_a_view(tmp_path: Path) -> None:
    module = Tied(tie=False)
    module.head.weight = nn.Parameter(module.embed.weight.detach())
    save_file({"embed.weight": torch.ones(5, 3)}, tmp_path / "one.safetensors")
    load_weights(module, tmp_path / "one.safetensors")
    assert bool((module.head.weight == 1).all())


def test_older_names_that_the_module_itself_knows(tmp_path: Path) -> None:
    old = torch.nn.utils.weight_norm(nn.Linear(4, 3))
    torch.save({"generator": old.state_dict()}, tmp_path / "g.pt")
    new = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    assert load_torch_weights(new, tmp_path / "g.pt").done == ("prefix 'generator.' of the file taken off",)
    torch.testing.assert_close(new(torch.ones(1, 4)), old(torch.ones(1, 4)))


def write_shards(folder: Path, names: State, number: int = 2) -> Path:
    """The index of `number` shards."""
    places = {name: f"model-0000{i % number + 1}-of-0000{number}.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: names[name] for name, place in places.items() if place == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.mark.parametrize("given", ["the index", "its folder", "a folder of shards", "a folder of one file"])
def test_shards_and_folders(given: str, tmp_path: Path) -> None:
    index = write_shards(tmp_path, state("model."), 1 if given == "a folder of one file" else 2)
    (tmp_path / "config.json").write_text("{}")
    torch.save(adam(), tmp_path / "optimizer.pt")
    if given.startswith("a folder"):
        index.unlink()
    net = seeded(Net, 0)
    loaded = load_weights(net, index if given == "the index" else tmp_path)
    assert all(torch.equal(tensor, state()[name]) for name, tensor in net.state_dict().items())
    assert len(loaded.files) == {"a folder of shards": 2, "a folder of one file": 1}.get(given, 3)


def test_a_folder_of_torch_files(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "pytorch_model-00001-of-00001.bin")
    places = dict.fromkeys(state(), "pytorch_model-00001-of-00001.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    net = seeded(Net, 0)
    load_torch_weights(net, tmp_path)
    assert torch.equal(net.state_dict()["first.weight"], state()["first.weight"])


def two_models(folder: Path) -> Path:
    torch.save({"model": state(), "ema": state(seed=2)}, folder / "x.pt")
    return folder / "x.pt"


def other_values(folder: Path) -> Path:
    save_file({"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)}, folder / "x.safetensors")
    return folder / "x.safetensors"


def of(tensors: Callable[[], State]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save_file(tensors(), folder / "x.safetensors")
        return folder / "x.safetensors"

    return write


def two_files(folder: Path) -> Path:
    save_file(state(), folder / "a.safetensors")
    save_file(state(), folder / "b.safetensors")
    return folder


def torch_alone(folder: Path) -> Path:
    torch.save(state(), folder / "a.pt")
    return folder


def half_of_the_shards(folder: Path) -> Path:
    write_shards(folder, state())
    (folder / "model-00001-of-00002.safetensors").unlink()
    return folder / "model.safetensors.index.json"


def index_of_others(folder: Path) -> Path:
    index = write_shards(folder, state())
    save_file({"x": torch.ones(1)}, folder / "model-00001-of-00002.safetensors")
    return index


def index(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "model.safetensors.index.json").write_text(text)
        return folder / "model.safetensors.index.json"

    return write


def changed(name: str, tensor: torch.Tensor) -> Callable[[Path], Path]:
    return of(lambda: state() | {name: tensor})


REFUSED: dict[str, tuple[Callable[[Path], Path], Callable[[], nn.Module], str]] = {
    "two that fit": (
        two_models, Net,
        "more than one reading: prefix 'model.' of the file taken off; what is not under 'model.' left out: .* \\| "
        "prefix 'ema.' .*; save the one that is meant",
    ),
    "tied to another": (other_values, tied, "embed.weight differs from head.weight, and in the module they are one"),
    "nothing alike": (
        of(lambda: {f"a.{i}": torch.ones(1) for i in range(7)}), Net,
        r"no name is on both sides: the module has first.bias, .* \(9\); the file has a.0, a.1, a.2, a.3, a.4, ... "
        r"\(7\); build the module that the file was saved from",
    ),
    "one more": (of(lambda: state() | {"x": torch.ones(1)}), Net, "fit the module: the module lacks x; build"),
    "one more under the prefix": (
        of(lambda: state("net.") | {"net.x": torch.ones(1)}), Net, "module: under 'net.' the module lacks net.x; build",
    ),
    "one less under the prefix": (
        of(lambda: {name: t for name, t in state("net.").items() if name != "net.first.bias"}), Net,
        "module: under 'net.' the file lacks first.bias; build",
    ),
    "one of two": (
        of(lambda: {"embed.weight": torch.ones(5, 3)}), lambda: Tied(tie=False),
        "lacks head.weight; if the two are one tensor, tie them in the module: head.weight = embed.weight",
    ),
    "quantized": (
        changed("first.weight", torch.ones(3, 4, dtype=torch.int8)), Net,
        "first.weight is int8 in the file and float32 in the module",
    ),
    "another buffer": (changed("places", torch.zeros(3, dtype=torch.int64)), Net, "places differs from the module's"),
    "another shape": (changed("first.bias", torch.ones(1, 3)), Net, r"first.bias is \[1, 3\] in the file and \[3\]"),
    "a folder of two": (two_files, Net, "more than one reading: a.safetensors, b.safetensors; give the file"),
    "a folder of torch files": (torch_alone, Net, "no file .*; it has a.pt: give it as --torch-weights"),
    "an empty folder": (lambda folder: folder, Net, r"no file \*.safetensors, \*.safetensors.index.json; give the"),
    "a shard that is not there": (half_of_the_shards, Net, "model-00001-of-00002.safetensors: not there"),
    "an index of other files": (index_of_others, Net, "and its shards differ in first.weight, "),
    "no index": (index("[]"), Net, 'is no index: it must be JSON with a "weight_map"'),
    "an index that leaves": (index('{"weight_map": {"a": "../x.safetensors"}}'), Net, "must name files that lie"),
    "an index of torch files": (index('{"weight_map": {"a": "x.bin"}}'), Net, "is the index of x.bin: try --torch-we"),
    "no parameters": (of(state), nn.Identity, "the module has no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_reading_is_refused_with_the_names_of_both_sides(case: str, tmp_path: Path) -> None:
    write, make, message = REFUSED[case]
    path = write(tmp_path)
    with pytest.raises(ConchError, match=message) as refused:
        (load_torch_weights if path.suffix == ".pt" else load_weights)(make(), path)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_command_and_the_manifest_say_it(
    module: Module, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": {"module.linear.weight": torch.ones(3, 4), "module.linear.bias": torch.ones(3)}},
               tmp_path / "x.pt")  # fmt: skip
    assert module("Small", "--input", "x:float32[batch,4]", "--torch-weights", "x.pt") == (0, "")
    manifest, _, _ = published(artifacts)
    assert manifest["source"]["weights_read"] == ["prefix 'model.module.' of the file taken off"]
