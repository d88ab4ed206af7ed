from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.errors import UnreadableInput, UnwritableOutput, WrongKind
from clients.pictures import (
    GAP,
    check_picture_path,
    grid,
    picture_tensor,
    preparation_of,
    prepare,
    read_picture,
    write_picture,
)
from clients.preparation import Preparation, UnknownPreparation
from clients.signature import Metadata, TensorSpec

GREY = TensorSpec("image", "UINT8", (-1, 28, 28, 1), batched=True)
COLOUR = TensorSpec("image", "UINT8", (-1, 32, 16, 3), batched=True)


def test_colour_becomes_grey_and_the_models_size() -> None:
    pixels = prepare(Image.new("RGB", (100, 50), (255, 0, 0)), GREY)
    assert pixels.shape == (1, 28, 28, 1)
    assert pixels.dtype == np.uint8
    assert set(pixels.ravel()) == {76}  # ITU-R 601: 0.299 * 255


def test_grey_becomes_colour_with_height_and_width_in_order() -> None:
    assert prepare(Image.new("L", (10, 10), 7), COLOUR).shape == (1, 32, 16, 3)


def test_picture_of_the_right_size_is_not_touched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(prepare(Image.fromarray(pixels), GREY)[0, :, :, 0], pixels)


def test_axis_of_any_size_keeps_the_pictures_own() -> None:
    assert prepare(Image.new("L", (9, 5)), TensorSpec("image", "UINT8", (-1, -1, -1, 1))).shape == (1, 5, 9, 1)


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (280, 140))
    assert abs(prepare(Image.fromarray(stripes), GREY)[0, 2:-2, 2:-2].astype(int) - 128).max() < 20


def test_transparent_is_white_and_invert_makes_it_black() -> None:
    clear = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    assert prepare(clear, GREY).min() == 255
    assert prepare(clear, GREY, invert=True).max() == 0


def test_palette_with_a_transparent_colour_is_laid_over_white(tmp_path: Path) -> None:
    path = tmp_path / "palette.png"
    Image.new("P", (28, 28), 0).save(path, transparency=0)
    assert prepare(read_picture(path), GREY).min() == 255


def test_camera_picture_is_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    pixels = np.zeros((28, 28), dtype=np.uint8)
    pixels[:14] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(path, exif=exif)
    upright = prepare(read_picture(path), GREY)[0, :, :, 0]
    assert upright[:10].max() < 10
    assert upright[18:].min() > 245


@pytest.mark.parametrize(
    ("content", "words"), [(b"hello", "no image"), (None, "no such file"), ("half", "cannot read"), (b"", "no image")]
)
def test_what_is_no_picture_is_said_to_be_none(tmp_path: Path, content: bytes | str | None, words: str) -> None:
    path = tmp_path / "picture.png"
    if content == "half":
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:700])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UnreadableInput, match=words):
        read_picture(path)


def test_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="directory"):
        read_picture(tmp_path)


def test_a_description_is_the_models_own() -> None:
    described = Metadata("cnn", ("1",), "", (GREY,), (), 8, parameters={"picture_fit": "stretch", "other": "1"})
    assert preparation_of(described) == Preparation("stretch")
    assert preparation_of(replace(described, parameters={"other": "1"})) is None
    with pytest.raises(UnknownPreparation, match=r"^cnn: picture_fit is 'pad', allowed are crop, stretch; correct"):
        preparation_of(replace(described, parameters={"picture_fit": "pad"}))


def test_a_wide_picture_is_cropped_unless_the_model_says_otherwise() -> None:
    wide = np.zeros((28, 56), np.uint8)
    wide[:, 14:42] = 200
    assert set(prepare(Image.fromarray(wide), GREY).ravel()) == {200}
    assert prepare(Image.fromarray(wide), GREY, preparation=Preparation("stretch")).min() == 0


def test_grid_holds_every_picture_in_reading_order() -> None:
    pictures = np.stack([np.full((4, 6, 1), value, dtype=np.uint8) for value in range(5)])
    sheet = grid(pictures)
    assert sheet.shape == (2 * 4 + GAP, 3 * 6 + 2 * GAP, 1)
    assert [sheet[0, column * (6 + GAP), 0] for column in range(3)] == [0, 1, 2]
    assert [sheet[4 + GAP, column * (6 + GAP), 0] for column in range(3)] == [3, 4, 128]


def test_grid_of_one_is_that_one() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grid(picture), picture[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_written_picture_reads_back(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    write_picture(tmp_path / "out.png", pixels)
    read = np.asarray(Image.open(tmp_path / "out.png")).reshape(5, 7, channels)
    np.testing.assert_array_equal(read, pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_unknown_ending_and_missing_folder_are_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match=r"'\.foo'"):
        check_picture_path(tmp_path / "out.foo")
    with pytest.raises(UnwritableOutput, match="no folder"):
        check_picture_path(tmp_path / "none" / "out.png")
    with pytest.raises(UnwritableOutput, match="it is a folder"):
        check_picture_path(tmp_path)


def test_model_without_a_picture_is_of_another_kind() -> None:
    tokens = TensorSpec("tokens", "INT64", (-1, -1), batched=True)
    with pytest.raises(WrongKind, match=r"lstm: needs one input UINT8 .* has: tokens INT64 \[batch, any\]"):
        picture_tensor("lstm", [tokens], "input")
    assert picture_tensor("cnn", [tokens, GREY], "input") is GREY


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.blp", b"BLP2" + b"\1" * 200),
        ("x.dds", b"DDS " + b"\1" * 200),
        ("x.avif", b"\0\0\0\x1cftypavif" + b"\0" * 40),
    ],
)
def test_a_broken_file_of_any_format_is_an_expected_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableInput):
        read_picture(tmp_path / name)
