"""Networks beyond the demo's five in one Triton: the answers that were proven, and bad requests refused.

`make test` serves those that stand for a way of serving of their own, `make test-long` all others.
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from clients import ClientError, connect
from clients.__main__ import main as call
from clients.taxi import ACTIONS
from conch.contracts.comparison import EXACT, TOLERANCES, compare
from conch.contracts.golden import read_golden, read_tolerances, read_version_manifest
from conch.report.score import recipe_named, run_chain, score_one
from export.publication.pipeline import export_checkpoint
from serving.server.server import Server
from tests.support.calls import PROTOCOLS, infer
from tests.support.digits_like import publish_judge
from tests.support.small_networks import READS, small_network
from training.catalogue import NETWORKS
from training.checkpoints.checkpoint import load_checkpoint
from training.data.scenes import WORDS
from training.loop.fit import train

CLIENTS = Path(__file__).parents[2] / "docs" / "clients.md"
QUICK = ("caption", "detector", "echo_state", "perceptron", "superresolution", "taxi", "unet")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton of those with a way of serving of their own."""
    with serving(QUICK, tmp_path_factory.mktemp("networks")) as server:
        yield server


@contextmanager
def serving(names: Sequence[str], artifacts: Path) -> Iterator[Server]:
    """A Triton of these networks at small size, each exported with its whole grid."""
    read = {READS[name] for name in names if name in READS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(artifacts))
        if "cnn" in read:
            publish_judge()
        for name in sorted({*names, *read} - {"cnn"}, key=lambda name: name in READS):
            recipe = small_network(name)
            train(recipe, recipe.dataset(), hold_floors=False)
            if name in names:
                export_checkpoint(load_checkpoint(name))
        with Server(artifacts / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
            yield server


def test_each_gives_its_golden_answers_and_refuses_a_bad_request(quick: Server) -> None:
    assert_all_right(quick)


@pytest.mark.long
def test_the_others_do_so_too(tmp_path: Path) -> None:
    with serving([name for name in NETWORKS if name not in QUICK], tmp_path) as server:
        assert_all_right(server)


def assert_all_right(server: Server) -> None:
    """Each model answers its golden inputs over both protocols, and refuses a tensor of another rank by its name.

    One with states answers whole sequences instead.
    """
    models = sorted(path.name for path in server.repository.iterdir() if path.is_dir())
    assert models
    for model in models:
        version = server.repository / model / "1"
        if read_version_manifest(version).get("states"):
            assert_sequences_right(server, model)
            continue
        inputs, outputs = read_golden(version)
        tolerances = read_tolerances(version)
        for protocol, rows in zip(PROTOCOLS, (1, 3), strict=True):
            got = infer(server, protocol, model, {name: array[:rows] for name, array in inputs.items()})
            for name, array in outputs.items():
                allowed = tolerances.get(array.dtype.name, EXACT)
                assert compare(got[name], array[:rows], allowed).agrees, (model, protocol, name)
        name, array = next(iter(inputs.items()))
        bad = {**{key: value[:1] for key, value in inputs.items()}, name: array[:1, ..., np.newaxis, np.newaxis]}
        with pytest.raises(InferenceServerException, match=rf"(?s){name}|shape"):
            infer(server, "http", model, bad)


def assert_sequences_right(server: Server, model: str) -> None:
    """Two sequences of 40 steps, all under way at once, get what the recipe says of them as a whole."""
    checkpoint = load_checkpoint(recipe_named(model))
    served = next(one for one in checkpoint.recipe.served(checkpoint.trained, checkpoint.data) if one.name == model)
    assert served.chain is not None
    chain = replace(served.chain, steps={name: array[:2, :40] for name, array in served.chain.steps.items()})
    for connected in (connect(server.http), connect(server.grpc, "grpc")):
        with connected as client:
            got = run_chain(client, model, chain)
        for name, array in chain.whole(chain.steps).items():
            assert compare(got[name], array, TOLERANCES[array.dtype.name]).agrees, (model, name)
    name, array = next(iter(chain.steps.items()))
    with connect(server.http) as client, client.sequence(model) as sequence, pytest.raises(ClientError):
        sequence.infer({**{key: one[:1, 0] for key, one in chain.steps.items()}, name: array[:1, 0, ..., np.newaxis]})


@pytest.mark.long
def test_translate_says_the_same_decoded_by_the_server_and_by_the_client(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an untrained network writes is no translation, but it is the same, whatever shares its batch."""
    texts = ["the 3rd of May, 1997", "nine", "two thousand and forty-one"]
    said = []
    with serving(["seq2seq"], tmp_path) as server:
        capsys.readouterr()  # of the training
        for words in ([*texts], [texts[1]], [*texts, "--stepwise"]):
            assert call(["translate", *words, "--json", "--url", server.http]) == 0
            said.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
        assert call(["translate", "éclair", "--url", server.http]) == 1
        assert "seq2seq has never seen: 'é'" in capsys.readouterr().err
        run_commands_of_the_page(["translate"], server)
    whole, alone, stepwise = said
    assert [one["text"] for one in whole] == texts
    assert [one["translation"] for one in whole] == [one["translation"] for one in stepwise]
    assert [one["probability"] for one in whole] == pytest.approx([one["probability"] for one in stepwise], rel=1e-3)
    assert alone[0]["translation"] == whole[1]["translation"]


def run_commands_of_the_page(called: Sequence[str], server: Server) -> None:
    """Those of docs/clients.md for these networks; a taxi that has learnt little does not deliver."""
    (block,) = re.findall(r"```sh\n(conch call translate.*?)```", CLIENTS.read_text(), re.DOTALL)
    commands = [shlex.split(line.partition("  #")[0])[2:] for line in block.splitlines()]
    assert [words[0] for words in commands] == ["translate", "translate", "caption", "drive"]
    for words in commands:
        if words[0] in called:
            assert call([*words, "--url", server.http]) == (1 if words[0] == "drive" else 0)


def test_drive_takes_the_actions_of_the_highest_values(quick: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["drive", "--start", "328", "--most", "5", "--json", "--url", quick.http]) in (0, 1)
    steps = json.loads(capsys.readouterr().out)["steps"]
    with connect(quick.http) as client:
        states = np.array([[step["state"]] for step in steps])
        values = client.infer("taxi", {"state": states})["values"]
    assert [ACTIONS[action] for action in values.argmax(1)] == [step["action"] for step in steps]
    assert [step["value"] for step in steps] == pytest.approx(values.max(1).tolist(), abs=1e-4)
    run_commands_of_the_page(["drive"], quick)
    assert "not delivered after 200 steps" in capsys.readouterr().out


def test_caption_says_a_sentence_of_each_picture(
    quick: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one.png", "two.png"):
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (48, 48), np.uint8)).save(tmp_path / name)
    pictures = [str(tmp_path / "one.png"), str(tmp_path / "two.png")]
    assert call(["caption", *pictures, "--json", "--url", quick.http]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["picture"] for one in said] == pictures
    assert all(set(one["caption"].split()) <= set(WORDS) for one in said)


def test_a_stream_alone_is_scored_by_its_sequences(quick: Server) -> None:
    with connect(quick.http) as client:
        found = score_one(client, "echo_state")
    assert [metric["name"] for metric in found["score"]] == ["error", "error of the last value"]
    assert found["differences"] == []


def test_enlarge_writes_pictures_of_any_size_twice_as_large(quick: Server, tmp_path: Path) -> None:
    for name, size in (("wide.png", (37, 20)), ("high.png", (9, 50))):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "large").mkdir()
    pictures = [str(tmp_path / "wide.png"), str(tmp_path / "high.png")]
    assert call(["enlarge", *pictures, "--out", str(tmp_path / "large"), "--url", quick.http]) == 0
    assert Image.open(tmp_path / "large" / "wide.png").size == (74, 40)
    assert Image.open(tmp_path / "large" / "high.png").size == (18, 100)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_segment_and_detect_find_their_model_and_draw_pictures_of_every_size(
    quick: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    sizes = {"wide.png": (37, 20), "high.png": (9, 50), "dot.png": (1, 1)}
    for name, size in sizes.items():
        pixels = np.random.default_rng(0).integers(0, 255, size[::-1], np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "out").mkdir()
    url = f"{protocol}://{getattr(quick, protocol)}"
    pictures = [str(tmp_path / name) for name in sizes]
    for command in ("segment", "detect"):
        capsys.readouterr()
        assert call([command, *pictures, "--out", str(tmp_path / "out"), "--url", url, "--json"]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [Path(one["picture"]).name for one in found] == list(sizes)
        if command == "segment":
            names = ("background", *"0123456789")
            assert all(kind["label"] == names[kind["class"]] for one in found for kind in one["found"])
            assert all(sum(kind["share"] for kind in one["found"]) == pytest.approx(1) for one in found)
            assert all(Image.open(tmp_path / "out" / name).size == size for name, size in sizes.items())
