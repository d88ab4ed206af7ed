"""A file becomes the same pixels in training and at a client of the running server, bit for bit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clients import connect
from clients.__main__ import main
from clients.pictures import picture_tensor, preparation_of, prepare, read_picture
from clients.preparation import Preparation
from conch.report.evidence import gather
from conch.report.page import render_page
from export.publication.pipeline import export_checkpoint
from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from training.checkpoints.checkpoint import load_checkpoint
from training.loop.fit import train
from training.recipe import Recipe
from training.recipes.autoencoder import Autoencoder
from training.recipes.cnn import CNN

FOREIGN = """
mean (uint8[batch, 28, 28, 1] image) => (float[batch, 1] brightness)
{ x = Cast <to = 1> (image)
  axes = Constant <value_ints = [1, 2]> ()
  brightness = ReduceMean <keepdims = 0> (x, axes) }
"""
TURNED = Image.Exif()
TURNED[0x0112] = 6


def seen_through(grey: Image.Image) -> Image.Image:
    """A picture as transparent as it is dark."""
    colour = grey.convert("RGBA")
    colour.putalpha(grey)
    return colour


FILES: dict[str, Callable[[Image.Image], tuple[Image.Image, dict[str, Any]]]] = {
    "grey.png": lambda grey: (grey, {}),
    "twelve-bits.png": lambda grey: (Image.fromarray(np.asarray(grey).astype(np.uint16) * 16), {}),
    "twelve-bits.tiff": lambda grey: (Image.fromarray(np.asarray(grey).astype(np.int32) * 16), {}),
    "turned.jpg": lambda grey: (grey, {"exif": TURNED}),
    "animated.gif": lambda grey: (
        grey.convert("RGB").quantize(16),
        {"save_all": True, "append_images": [Image.new("RGB", grey.size)]},
    ),
    "transparent.png": lambda grey: (seen_through(grey), {}),
    "printed.jpg": lambda grey: (grey.convert("CMYK"), {}),
    "scan.tiff": lambda grey: (grey.convert("1"), {}),
}

PREPARATIONS = {"cnn": Preparation(white_level=4095), "autoencoder": Preparation("stretch", white_level=5000)}
"""What is to be served: white found from the files' 12 bits, and stated."""


def write(folder: Path) -> None:
    """Two classes of wide pictures, flat ovals and round discs, in files of every kind."""
    draw = np.random.default_rng(0)
    for label, ratio in (("oval", 0.5), ("round", 1.0)):
        (folder / label).mkdir(parents=True)
        for number in range(10):  # a fifth is held out, and the proof's largest batch is of 32
            for name, convert in FILES.items():
                grey = Image.fromarray(draw.integers(0, 60, (48, 90 + 3 * number), dtype=np.uint8))
                x, y = grey.width / 2, grey.height / 2
                ImageDraw.Draw(grey).ellipse((x - 16 * ratio, y - 16, x + 16 * ratio, y + 16), fill=230)
                image, options = convert(grey)
                image.save(folder / label / f"{number:02}-{name}", **options)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recipe]:
    """By the name of the served model; the two read the same files differently."""
    folder = tmp_path_factory.mktemp("pictures") / "discs"
    write(folder)
    return {
        "cnn": CNN(data=str(folder), image_size=32, epochs=1),
        "autoencoder": Autoencoder(
            data=str(folder), image_size=32, epochs=1, picture_fit="stretch", picture_white_level=5000
        ),
    }


@pytest.fixture(scope="module")
def server(recipes: dict[str, Recipe], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Triton over both, and over a model of unknown origin."""
    with pytest.MonkeyPatch.context() as patch:
        artifacts = tmp_path_factory.mktemp("artifacts")
        patch.setenv("CONCH_ARTIFACTS", str(artifacts))
        for name, recipe in recipes.items():
            train(recipe, recipe.dataset(), hold_floors=False)
            export_checkpoint(load_checkpoint(name))
        publish_file(graphs.write(FOREIGN, artifacts / "mean.onnx"), "mean", artifacts / "models")
        with Server(artifacts / "models", http_port=0, grpc_port=0, metrics_port=0) as running:
            yield running


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("model", ["cnn", "autoencoder"])
def test_a_client_prepares_each_file_as_training_did(
    server: Server, recipes: dict[str, Recipe], model: str, protocol: str
) -> None:
    with connect(f"{protocol}://{getattr(server, protocol)}") as client:
        metadata = client.metadata(model)
    preparation = preparation_of(metadata)
    data = recipes[model].dataset()
    assert preparation == data.preparation
    assert preparation == PREPARATIONS[model]
    spec = picture_tensor(model, metadata.inputs, "input")
    trained = {image.tobytes() for image in (*data.train, *data.held_out)}
    files = sorted(Path(recipes[model].data).rglob("*.*"))
    assert len(files) == 20 * len(FILES)
    made = {prepare(read_picture(file), spec, preparation=preparation)[0].tobytes() for file in files}
    assert made == trained


def test_the_command_answers_as_the_training_s_pixels_do(
    server: Server, recipes: dict[str, Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    data = recipes["cnn"].dataset()
    folder = Path(recipes["cnn"].data) / data.labels[0]
    fifth = sorted(folder.iterdir())[4]  # the first that is held out
    with connect(server.http) as client:
        expected = client.infer("cnn", {"image": data.held_out[:1]})["probabilities"][0]
    assert main(["classify", str(fifth), "--model", "cnn", "--url", server.http]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for probability in expected:
        assert f"{probability:.4f}" in captured.out


def test_a_model_that_says_nothing_gets_the_default_and_a_word(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (90, 28), 9).save(tmp_path / "wide.png")
    assert main(["classify", str(tmp_path / "wide.png"), "--model", "mean", "--url", server.http]) == 0
    captured = capsys.readouterr()
    assert "9.0000" in captured.out
    assert captured.err.startswith(
        "note: mean does not say how pictures are prepared (picture_fit in its config.pbtxt)"
    )
    assert f"taken: {Preparation()}\n" in captured.err


def test_a_picture_without_a_reading_is_refused_with_its_file(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.full((32, 32), 4096, np.uint16)).save(tmp_path / "bright.png")
    assert main(["classify", str(tmp_path / "bright.png"), "--model", "cnn", "--url", server.http]) == 1
    captured = capsys.readouterr()
    assert "bright.png: mode I;16 with values from 4096 to 4096, read are 0 to 4095; save it" in captured.err
    assert captured.err.count("\n") == 1


def test_the_page_says_how_pictures_are_prepared(server: Server) -> None:
    artifacts = Path(server.repository).parent
    page = render_page(gather(artifacts), artifacts)
    for preparation in PREPARATIONS.values():
        assert f"Pictures, in training and by clients: {preparation}." in page
    assert page.count("Pictures, in training and by clients") == 2
