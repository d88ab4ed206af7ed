"""Public data sets: where they are found, how they are read. Nothing is unpickled."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conch.contracts.errors import ConchError
from training.data.download import PublicFile, find_or_fetch
from training.data.images import Images

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FASHION_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
FASHION_LABELS = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
CIFAR10 = PublicFile(
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAKESPEARE = PublicFile(
    "input.txt",
    "6fb458f1232090904fb40fe944165e91",
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
)


def data_folder(data_dir: str) -> Path:
    """Where data sets are looked for and kept: `--data-dir`, else `CONCH_DATA`, else the user's cache folder."""
    return Path(data_dir or os.environ.get("CONCH_DATA") or Path.home() / ".cache" / "conch")


def mnist(folder: Path) -> Images:
    """MNIST, 60,000 and 10,000 handwritten digits of 28x28 (LeCun, Cortes, Burges, 1998)."""
    return _idx_images("mnist", folder, _idx_files(MNIST_MIRRORS, MNIST_MD5), tuple("0123456789"))


def fashion_mnist(folder: Path) -> Images:
    """Fashion-MNIST, 60,000 and 10,000 pictures of clothes of 28x28 (Xiao, Rasul, Vollgraf, 2017)."""
    return _idx_images("fashion-mnist", folder, _idx_files(FASHION_MIRRORS, FASHION_MD5), FASHION_LABELS)


def cifar10(folder: Path) -> Images:
    """CIFAR-10, 50,000 and 10,000 colour pictures of 32x32 (Krizhevsky, 2009), from its binary version."""
    archive = find_or_fetch(CIFAR10, folder / "cifar10")
    names = [f"data_batch_{number}.bin" for number in range(1, 6)]
    with tarfile.open(archive) as members:
        records = {
            Path(member.name).name: np.frombuffer(_read_member(members, member), np.uint8).reshape(-1, 3073)
            for member in members
            if member.name.endswith(".bin")
        }
    train = np.concatenate([records[name] for name in names])
    held_out = records["test_batch.bin"]
    return Images(
        "cifar10", _cifar_pixels(train), train[:, 0].astype(np.int64),
        _cifar_pixels(held_out), held_out[:, 0].astype(np.int64), CIFAR10_LABELS,
    )  # fmt: skip


def shakespeare(folder: Path) -> str:
    """A million characters of Shakespeare (Karpathy's char-rnn, 2015)."""
    return find_or_fetch(SHAKESPEARE, folder / "tinyshakespeare").read_text(encoding="utf-8")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """A gzipped IDX file of unsigned bytes as an array of its own shape.

    Layout: two zero bytes, the type (8: unsigned byte), the number of axes, each axis as a big-endian 32-bit number,
    the values. Source: the format's description on the MNIST page.

    Raises:
        ConchError: the file is something else, or shorter than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise ConchError(f"{path} is no gzip file, or a damaged one: {error}") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ConchError(f"{path} is no IDX file of unsigned bytes: it begins with {content[:4].hex(' ')}")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, 4).astype(int) if len(content) >= 4 + 4 * axes else None
    if shape is None or len(content) != 4 + 4 * axes + int(shape.prod()):
        raise ConchError(f"{path} is damaged: {len(content)} bytes do not fit its header")
    return np.frombuffer(bytearray(content), np.uint8, offset=4 + 4 * axes).reshape(shape)  # writable, as torch asks


def _idx_files(mirrors: tuple[str, ...], checksums: tuple[str, ...]) -> Mapping[str, PublicFile]:
    return {
        name: PublicFile(name, md5, tuple(mirror + name for mirror in mirrors))
        for name, md5 in zip(IDX_NAMES, checksums, strict=True)
    }


def _idx_images(name: str, folder: Path, files: Mapping[str, PublicFile], labels: tuple[str, ...]) -> Images:
    train, train_labels, held_out, held_out_labels = (
        read_idx(find_or_fetch(files[file], folder / name)) for file in IDX_NAMES
    )
    return Images(
        name, train[..., np.newaxis], train_labels.astype(np.int64),
        held_out[..., np.newaxis], held_out_labels.astype(np.int64), labels,
    )  # fmt: skip


def _read_member(members: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = members.extractfile(member)
    assert file is not None
    return file.read()


def _cifar_pixels(records: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Records of a label and 3x32x32 planes, [n, 3073], to pixels [n, 32, 32, 3]."""
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
