"""Every mode has one reading, or is refused with its mode: what training, configuration and client share."""

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients.preparation import (
    KEYS,
    NoReading,
    Preparation,
    UnknownPreparation,
    _is_cut,
    described,
    pixels,
    read_picture,
    resized,
)

SIDE = 4
TWELVE_BITS = Preparation(white_level=4095)


def read(path: Path, preparation: Preparation = Preparation(), channels: int = 0) -> np.ndarray:  # noqa: B008, frozen
    """[4, 4, channels] of the file; of its own channels where none are asked for."""
    image = resized(read_picture(path), SIDE, SIDE, preparation)
    return pixels(image, channels or len(image.getbands()))


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    """The file it was written to."""
    image.save(path, **options)
    return path


def full(mode: str, colour: Any) -> Image.Image:
    """A picture of one colour, at the size that is read."""
    return Image.new(mode, (SIDE, SIDE), colour)


def deep(value: float, dtype: type, shape: tuple[int, ...] = (SIDE, SIDE)) -> Image.Image:
    """A picture of one value in a NumPy type: uint16 is mode I;16, int32 I, float32 F."""
    return Image.fromarray(np.full(shape, value, dtype))


def palette(**info: Any) -> Image.Image:
    """All of colour 1 of two."""
    image = full("P", 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.info.update(info)
    return image


READINGS: dict[str, tuple[str, Callable[[], Image.Image], tuple[int, ...]]] = {
    "1": ("png", lambda: full("1", 1), (255,)),
    "L": ("png", lambda: full("L", 77), (77,)),
    "LA, half": ("png", lambda: full("LA", (77, 128)), (166,)),
    "LA, clear": ("png", lambda: full("LA", (0, 0)), (255,)),
    "P": ("png", palette, (200, 100, 50)),
    "P, as GIF": ("gif", palette, (200, 100, 50)),
    "P with a clear colour": ("png", lambda: palette(transparency=1), (255, 255, 255)),
    "L with a clear value": ("png", lambda: full("L", 7), (7,)),
    "RGB": ("png", lambda: full("RGB", (1, 2, 3)), (1, 2, 3)),
    "RGBA, solid": ("png", lambda: full("RGBA", (1, 2, 3, 255)), (1, 2, 3)),
    "RGBA, clear": ("png", lambda: full("RGBA", (1, 2, 3, 0)), (255, 255, 255)),
    "CMYK": ("tiff", lambda: full("CMYK", (255, 0, 0, 0)), (0, 255, 255)),
    "16 bits, all of them": ("png", lambda: deep(65535, np.uint16), (255,)),
    "16 bits, half": ("png", lambda: deep(32896, np.uint16), (128,)),
    "16 bits, rounded": ("png", lambda: deep(129, np.uint16), (1,)),
    "16 bits, as TIFF": ("tiff", lambda: deep(257 * 9, np.uint16), (9,)),
    "YCbCr": ("tiff", lambda: full("YCbCr", (99, 128, 128)), (99, 99, 99)),
    "32 bits within 16": ("tiff", lambda: deep(257 * 9, np.int32), (9,)),
}


@pytest.mark.parametrize("case", READINGS)
def test_a_mode_has_one_reading(tmp_path: Path, case: str) -> None:
    ending, make, colour = READINGS[case]
    read_back = read(saved(tmp_path / f"picture.{ending}", make()))
    assert read_back.shape == (SIDE, SIDE, len(colour))
    assert {tuple(pixel) for pixel in read_back.reshape(-1, len(colour)).tolist()} == {colour}


def test_cielab_is_converted_by_littlecms(tmp_path: Path) -> None:
    black = Image.frombytes("LAB", (SIDE, SIDE), bytes(3 * SIDE**2))
    read_back = read(saved(tmp_path / "lab.tiff", black))
    assert read_back.shape == (SIDE, SIDE, 3)
    assert read_back.max() <= 1  # it rounds as its version does


def test_big_endian_sixteen_bits_are_read(tmp_path: Path) -> None:
    (tmp_path / "deep.pgm").write_bytes(b"P5 4 4 65535\n" + (257 * 200).to_bytes(2, "big") * 16)
    assert set(read(tmp_path / "deep.pgm").ravel()) == {200}
    image = Image.frombytes("I;16B", (SIDE, SIDE), (257 * 200).to_bytes(2, "big") * 16)
    assert set(pixels(resized(image, SIDE, SIDE, Preparation()), 1).ravel()) == {200}


def test_a_pgm_of_twelve_bits_says_itself_which_value_is_white(tmp_path: Path) -> None:
    (tmp_path / "deep.pgm").write_bytes(b"P5 4 4 4095\n" + (4095).to_bytes(2, "big") * 16)
    assert set(read(tmp_path / "deep.pgm").ravel()) == {255}


@pytest.mark.parametrize(
    ("value", "dtype", "white"), [(1023, np.uint16, 4095), (0.25, np.float32, 1), (250_000, np.int32, 1_000_000)]
)
def test_a_stated_white_reads_what_is_deeper(tmp_path: Path, value: float, dtype: type, white: float) -> None:
    path = saved(tmp_path / "deep.tiff", deep(value, dtype))
    assert set(read(path, Preparation(white_level=white)).ravel()) == {64}


def test_a_stated_white_leaves_eight_bits_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "grey.png", full("L", 77))
    np.testing.assert_array_equal(read(path, TWELVE_BITS), read(path))


def test_the_transparent_value_of_sixteen_bits_is_background(tmp_path: Path) -> None:
    values = np.full((SIDE, SIDE), 257 * 9, np.uint16)
    values[0] = 1234
    path = saved(tmp_path / "deep.png", Image.fromarray(values), transparency=1234)
    assert read(path)[:, 0, 0].tolist() == [255, 9, 9, 9]
    assert read(path, Preparation(background="black"))[:, 0, 0].tolist() == [0, 9, 9, 9]


def test_the_transparent_value_of_grey_is_background(tmp_path: Path) -> None:
    assert set(read(saved(tmp_path / "grey.png", full("L", 7), transparency=7)).ravel()) == {255}


@pytest.mark.parametrize(
    ("value", "dtype", "white", "words"),
    [
        (0.5, np.float32, None, "mode F, floats, does not say which value is white"),
        (70_000, np.int32, None, "mode I with values from 70000 to 70000, read are 0 to 65535"),
        (-1, np.int32, None, "mode I with values from -1 to -1"),
        (4096, np.uint16, 4095, "mode I;16 with values from 4096 to 4096, read are 0 to 4095"),
        (1.5, np.float32, 1, "mode F with values from 1.5 to 1.5, read are 0 to 1"),
        (float("nan"), np.float32, 1, "mode F with values from nan"),
    ],
)
def test_what_has_no_right_reading_is_refused_with_its_mode_and_file(
    tmp_path: Path, value: float, dtype: type, white: float | None, words: str
) -> None:
    path = saved(tmp_path / "deep.tiff", deep(value, dtype))
    with pytest.raises(NoReading, match=re.escape(words)) as refused:
        read(path, Preparation(white_level=white))
    assert "deep.tiff" in str(refused.value)
    assert "save it with 8" in str(refused.value)


def test_a_deep_tiff_in_which_zero_is_white_is_refused(tmp_path: Path) -> None:
    """Pillow turns one of 8 bits round and leaves one of 16 as it is."""
    black_is_zero, white_is_zero = (struct.pack("<HHIHH", 262, 3, 1, said, 0) for said in (1, 0))
    for name, image in (("L.tiff", full("L", 55)), ("I.tiff", deep(257 * 55, np.uint16))):
        content = saved(tmp_path / name, image).read_bytes()
        assert content.count(black_is_zero) == 1
        (tmp_path / name).write_bytes(content.replace(black_is_zero, white_is_zero))
    assert set(read(tmp_path / "L.tiff").ravel()) == {200}
    with pytest.raises(NoReading, match=r"I\.tiff: mode I;16 of a TIFF in which 0 is white"):
        read(tmp_path / "I.tiff")


def sixteen_bit_colours(path: Path, value: int) -> Path:
    """A PNG of 16 bits a colour, which Pillow reads and does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + value.to_bytes(2, "big") * 3 * SIDE) * SIDE
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


def test_sixteen_bits_a_colour_are_their_upper_eight_or_refused(tmp_path: Path) -> None:
    path = sixteen_bit_colours(tmp_path / "colours.png", 0x1234)
    assert set(read(path).ravel()) == {0x12}
    assert set(read(path, Preparation(white_level=65535)).ravel()) == {0x12}
    with pytest.raises(NoReading, match=r"colours\.png: of its 16 bits a channel \(mode RGB\) only the upper 8"):
        read(path, TWELVE_BITS)


def test_sixteen_bits_for_all_three_colours_are_not_deep(tmp_path: Path) -> None:
    image = SimpleNamespace(mode="RGB", tile=[("raw", (0, 0, SIDE, SIDE), 0, ("BGR;16", 0, -1))])  # as of a BMP
    assert not _is_cut(image)  # type: ignore[arg-type]


def test_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [full("RGB", colour) for colour in ("red", "lime", "blue")]
    for ending in ("gif", "tiff", "webp", "png"):
        path = saved(
            tmp_path / f"many.{ending}", frames[0], save_all=True, append_images=frames[1:],
            **({"lossless": True} if ending == "webp" else {}),
        )  # fmt: skip
        assert {tuple(pixel) for pixel in read(path).reshape(-1, 3).tolist()} == {(255, 0, 0)}, ending


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((SIDE, SIDE), np.uint8)
    upright[0, :2] = (200, 100)
    as_stored = {  # what has to be undone
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "turned.png", Image.fromarray(np.ascontiguousarray(as_stored)), exif=exif)
    np.testing.assert_array_equal(read(path)[:, :, 0], upright)


def test_a_wide_picture_is_cropped_or_stretched() -> None:
    wide = Image.fromarray(np.repeat(np.array([[0, 100, 200, 0]], np.uint8), 2, axis=0))
    assert pixels(resized(wide, 2, 2, Preparation()), 1)[0, :, 0].tolist() == [100, 200]
    stretched = pixels(resized(wide, 2, 2, Preparation(fit="stretch", resample="box")), 1)
    assert stretched[0, :, 0].tolist() == [50, 100]


@pytest.mark.parametrize(("height", "width", "size"), [(-1, -1, (9, 3)), (6, -1, (18, 6)), (-1, 18, (18, 6))])
def test_a_free_side_keeps_the_proportions(height: int, width: int, size: tuple[int, int]) -> None:
    for fit in ("crop", "stretch"):
        assert resized(Image.new("L", (9, 3)), height, width, Preparation(fit=fit)).size == size


@pytest.mark.parametrize(
    "preparation",
    [
        Preparation(),
        Preparation("stretch", "bicubic", "#102030", 4095),
        Preparation(white_level=0.1),
        Preparation(white_level=16_777_215),
    ],
)
def test_a_description_survives_the_configuration(preparation: Preparation) -> None:
    parameters = preparation.parameters()
    assert tuple(parameters) == KEYS
    assert described({**parameters, "intra_op_thread_count": "1"}) == preparation


def test_no_description_is_none_and_a_part_of_one_is_completed() -> None:
    assert described({"intra_op_thread_count": "1"}) is None
    assert described({"picture_fit": "stretch"}) == Preparation(fit="stretch")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"picture_fit": "contain"}, "picture_fit is 'contain', allowed are crop, stretch"),
        ({"picture_resample": "cubic"}, "picture_resample is 'cubic', allowed are .*lanczos"),
        ({"picture_background": "clear"}, "picture_background is 'clear', allowed is a colour's name"),
        ({"picture_white_level": "bright"}, "picture_white_level is 'bright', allowed is 'full range' or a finite"),
        ({"picture_white_level": "nan"}, "picture_white_level is nan"),
        ({"picture_white_level": "0"}, "picture_white_level is 0"),
        ({"picture_gamma": "2.2"}, "picture_gamma is unknown, allowed are picture_fit"),
    ],
)
def test_what_is_not_known_is_refused(parameters: dict[str, str], words: str) -> None:
    with pytest.raises(UnknownPreparation, match=words):
        described(parameters)
