"""Image folders, text files and public formats, as users have them."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.pictures import prepare
from clients.preparation import Preparation, read_picture
from clients.signature import TensorSpec
from conch.contracts.errors import ConchError
from training.data import public_data
from training.data.download import PublicFile
from training.data.image_folder import image_folder
from training.data.public_data import cifar10, read_idx
from training.data.text import load_text
from training.recipes.cnn import CNN

SHARED = Path(__file__).parents[4] / "shared" / "data"
FORMATS = (("png", "L"), ("png", "RGBA"), ("jpg", "RGB"), ("bmp", "1"), ("gif", "P"), ("tiff", "I;16"), ("webp", "RGB"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of images in many formats, modes and sizes."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label / "deeper").mkdir(parents=True)
        for index, (suffix, mode) in enumerate(FORMATS):
            grey = Image.fromarray(rng.integers(0, 256, (20 + index, 30 + 3 * index), np.uint8))
            grey.convert(mode).save(tmp_path / label / "deeper" / f"{index}.{suffix}")
    return tmp_path


def test_an_image_folder_of_mixed_formats_sizes_and_modes(folder: Path) -> None:
    data = image_folder(folder, side=32, skip_broken=False)
    assert data.labels == ("cat", "dog")
    assert data.train.shape == (12, 32, 32, 3)
    assert data.held_out.shape == (2, 32, 32, 3)
    assert data.train.dtype == np.uint8


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(5):
            Image.new("L", (9, 9), index).save(tmp_path / label / f"{index}.png")
    assert image_folder(tmp_path, 28, False).train.shape == (8, 28, 28, 1)


def test_a_broken_image_is_named_or_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n but no image")
    with pytest.raises(ConchError, match=r"cat/broken\.png is no image.*--skip-broken"):
        image_folder(folder, 32, skip_broken=False)
    assert len(image_folder(folder, 32, skip_broken=True).train) == 12
    assert "broken.png" in caplog.text


def deep_folder(tmp_path: Path, values: list[int], dtype: type, suffix: str) -> Path:
    """Two classes of five pictures, each half black and half of one of the values."""
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(5):
            pixels: np.ndarray = np.zeros((28, 28), dtype)
            pixels[:, 14:] = values[index % len(values)]
            Image.fromarray(pixels).save(tmp_path / label / f"{index}.{suffix}")
    return tmp_path


@pytest.mark.parametrize(
    ("values", "dtype", "suffix", "white"),
    [
        ([2048, 4095], np.uint16, "png", 4095),  # a sensor of 12 bits
        ([600, 1000], np.uint16, "tiff", 1023),
        ([100, 255], np.uint16, "png", 255),  # 8 bits in a file of 16
        ([30_000, 40_000], np.uint16, "png", None),  # all 16
        ([30_000, 40_000], np.int32, "tiff", None),
        ([200], np.uint8, "png", None),
    ],
)
def test_white_is_that_of_the_bits_a_folder_uses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, values: list[int], dtype: type, suffix: str, white: int | None
) -> None:
    data = image_folder(deep_folder(tmp_path, values, dtype, suffix), 28, False)
    assert data.preparation == Preparation(white_level=white)
    largest = 255 if dtype == np.uint8 else (white or 65535)
    assert data.train.max() == round(max(values) * 255 / largest)
    assert (f"{white} is taken as white" in caplog.text) == (white is not None)


def test_a_stated_white_counts(tmp_path: Path) -> None:
    folder = deep_folder(tmp_path, [1000], np.uint16, "png")
    data = image_folder(folder, 28, False, Preparation(white_level=2000))
    assert data.preparation == Preparation(white_level=2000)
    assert data.train.max() == 128
    assert data.sha256 != image_folder(folder, 28, False, Preparation(white_level=2001)).sha256


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [(1, np.float32, "mode F, floats"), (70_000, np.int32, r"mode I with values from 0 to 70000")],
)
def test_what_has_no_right_reading_is_named_and_never_left_out(
    tmp_path: Path, value: int, dtype: type, words: str
) -> None:
    folder = deep_folder(tmp_path, [value], dtype, "tiff")
    with pytest.raises(ConchError, match=rf"a/0\.tiff: {words}.*--picture-white-level"):
        image_folder(folder, 28, skip_broken=True)
    assert CNN(data=str(folder), picture_white_level=value).dataset().train.max() == 255


def test_every_picture_is_what_a_client_makes_of_its_file(folder: Path) -> None:
    """All modes, wide ones, and grey ones among colours: bit for bit."""
    for fit in ("crop", "stretch"):
        data = CNN(data=str(folder), image_size=32, picture_fit=fit).dataset()
        spec = TensorSpec("image", "UINT8", (-1, 32, 32, 3), batched=True)
        assert data.preparation is not None
        files = [sorted((folder / label).rglob("*.*")) for label in data.labels]
        held_out = [group[number] for group in files for number in range(4, len(group), 5)]
        for file, pixels in zip(held_out, data.held_out, strict=True):
            np.testing.assert_array_equal(prepare(read_picture(file), spec, preparation=data.preparation)[0], pixels)
        train = [file for group in files for file in group if file not in held_out]
        for file, pixels in zip(train, data.train, strict=True):
            np.testing.assert_array_equal(prepare(read_picture(file), spec, preparation=data.preparation)[0], pixels)


@pytest.mark.parametrize("white", [0, float("nan"), -1])
def test_a_white_that_is_none_is_refused(white: float) -> None:
    with pytest.raises(ConchError, match=r"white.level"):
        CNN(picture_white_level=white)


def test_a_folder_without_classes_says_what_it_should_have(tmp_path: Path) -> None:
    with pytest.raises(ConchError, match="one subfolder a class"):
        image_folder(tmp_path, 28, False)


def test_lenet_says_which_sizes_it_takes(folder: Path) -> None:
    recipe = CNN(data=str(folder), image_size=40)
    with pytest.raises(ConchError, match=r"28x28 or 32x32, those of .* are 40x40"):
        recipe.trainee(recipe.dataset())
    CNN(data=str(folder), image_size=32).trainee(CNN(data=str(folder), image_size=32).dataset())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"plain", "no gzip file"),
        (gzip.compress(b"\0\0\x0d\x01\0\0\0\x01\0"), "no IDX file of unsigned bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05\0"), "do not fit its header"),
        (gzip.compress(bytes(1000))[:-9], "damaged"),
    ],
    ids=("plain", "floats", "short", "cut off"),  # gzip writes the time: names made of it differ between processes
)
def test_a_file_that_is_no_idx_file(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(ConchError, match=reason):
        read_idx(tmp_path / "x.gz")


def test_idx_shapes_are_the_header_s(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"\0\0\x08\x02\0\0\0\x02\0\0\0\x03" + bytes(range(6))))
    assert read_idx(tmp_path / "x.gz").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_cifar10_planes_become_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = np.zeros((2, 3073), np.uint8)
    record[:, 0] = (3, 9)
    record[0, 1 : 1 + 1024] = 200  # the red plane of the first
    (tmp_path / "cifar10").mkdir()
    archive = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = record.nbytes
            members.addfile(info, io.BytesIO(record.tobytes()))
    checksum = public_data.CIFAR10.md5
    monkeypatch.setattr("training.data.download.pooch.file_hash", lambda *_, **__: checksum)  # ours is a small stand-in
    data = cifar10(tmp_path)
    assert data.train.shape == (10, 32, 32, 3)
    assert data.train[0, 5, 5].tolist() == [200, 0, 0]
    assert data.held_out_labels.tolist() == [3, 9]


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("naïve café\n" * 6000, encoding="utf-8")
    data = load_text(str(path))
    assert "ï" in data.vocabulary
    path.write_text("short")
    with pytest.raises(ConchError, match=r"has 5 characters; a text to learn from needs at least 50,000"):
        load_text(str(path))
    path.write_bytes(b"\xff\xfe" * 40_000)
    with pytest.raises(ConchError, match="cannot be read as UTF-8"):
        load_text(str(path))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside this checkout")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files_are_read(name: str) -> None:
    data = CNN(data=name, data_dir=str(SHARED)).dataset()
    assert data.train.shape == (60_000, 28, 28, 1)
    assert np.bincount(data.held_out_labels).tolist() == (
        [1000] * 10 if name == "fashion-mnist" else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside this checkout")
def test_the_real_shakespeare_is_read() -> None:
    data = load_text("shakespeare", str(SHARED))
    assert len(data.vocabulary) == 65
    assert "".join(data.vocabulary[token] for token in data.train[:13]) == "First Citizen"


def test_every_public_file_names_a_checksum_and_whole_urls() -> None:
    files: list[PublicFile] = [public_data.CIFAR10, public_data.SHAKESPEARE]
    assert all(len(file.md5) == 32 and all(url.endswith(file.name) for url in file.mirrors) for file in files)
