"""What a version of a model consists of: its files by path, hash and size, as one document that stands for them all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import read_version_manifest
from conch.contracts.live import CONFIG, LABELS, config_file, labels_file
from serving.errors import ServingError
from serving.repository.into_place import BESIDE
from serving.repository.names import check_name

FORMAT = 1
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """One file of a version."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Contents:
    """All files of one version, by their path in a model's folder that has this version alone."""

    model: str
    version: int
    files: Mapping[str, File]

    def document(self) -> bytes:
        """As JSON, equal for equal contents."""
        document = {"format": FORMAT, "model": self.model, "version": self.version}
        files = {path: asdict(file) for path, file in sorted(self.files.items())}
        return (json.dumps(document | {"files": files}, indent=1, sort_keys=True) + "\n").encode()

    @property
    def size(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files.values())

    def difference(self, other: Contents) -> str:
        """The paths of files that are not the same in both, for an error message; empty where all are."""
        paths = sorted(self.files.keys() | other.files.keys())
        return ", ".join(path for path in paths if self.files.get(path) != other.files.get(path))


def local_files(model: Path, version: int) -> dict[str, Path]:
    """The files of a version in a repository, by their path in `Contents`."""
    found = {CONFIG: config_file(model, version), LABELS: labels_file(model, version)}
    found |= dict(_inside(model / str(version), str(version)))
    for folder in BESIDE:
        found |= dict(_inside(model / folder / str(version), f"{folder}/{version}"))
    return {path: file for path, file in found.items() if file.is_file()}


def _inside(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for file in folder.rglob("*"):
        if file.is_file():
            yield f"{prefix}/{file.relative_to(folder).as_posix()}", file


def read_contents(model: Path, version: int) -> Contents:
    """Hash all files of a version in a repository, and hold them against its manifest and its proof.

    Raises:
        ServingError: It has no proof that passed, or a file is not the one that was proven.
        GoldenError: Its manifest is damaged.
        OSError: A file cannot be read.
    """
    folder = model / str(version)
    manifest = read_version_manifest(folder)
    _check_proof(folder)
    files = {
        path: File(sha256_of_file(file), file.stat().st_size) for path, file in local_files(model, version).items()
    }
    contents = Contents(model.name, version, files)
    for path, wanted in _proven(manifest, version).items():
        got = files[path].sha256 if path in files else "missing"
        if got != wanted:
            raise ServingError(
                f"{folder}: {path} is not what was published ({got[:12]}, its manifest says {wanted[:12]}); "
                f"publish it again, or take the change back"
            )
    return contents


def _check_proof(folder: Path) -> None:
    try:
        parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServingError(f"{folder}: no readable parity.json ({error}); publish it with `conch export`") from error
    if not parity.get("passed") and not parity.get("runs"):
        raise ServingError(f"{folder}: its parity grid has failing cells; only what is proven is pushed")


def _proven(manifest: Mapping[str, Any], version: int) -> dict[str, str]:
    """Path -> the hash that the publication recorded."""
    recorded = manifest.get("sha256", {})
    wanted = {
        f"{version}/model.onnx": recorded.get("onnx"),
        f"{version}/golden.npz": recorded.get("golden"),
        CONFIG: recorded.get("config"),
    } | {f"{version}/{file}": digest for file, digest in recorded.get("external_data", {}).items()}
    return {path: digest for path, digest in wanted.items() if digest}


def parse_contents(document: bytes, where: str) -> Contents:
    """The contents that a document of a store says.

    Args:
        document: As `Contents.document` writes it.
        where: The document's address, for errors.

    Raises:
        ServingError: It is none, or names a path outside the version's place, as only a forged one does.
    """
    try:
        said = json.loads(document)
        if said["format"] != FORMAT:
            raise ServingError(f"{where} has the format {said['format']!r}, this Conch reads {FORMAT}: upgrade it")
        files = {path: File(str(file["sha256"]), int(file["size"])) for path, file in said["files"].items()}
        contents = Contents(str(said["model"]), int(said["version"]), files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServingError(
            f"{where} does not say the contents of a version ({type(error).__name__}: {error})"
        ) from error
    check_name(contents.model)
    for path, file in contents.files.items():
        if not (_belongs(path, contents.version) and SHA256.fullmatch(file.sha256) and file.size >= 0):
            raise ServingError(f"{where} names a file {path!r} that no version has; nothing of it was used")
    return contents


def _belongs(path: str, version: int) -> bool:
    parts = PurePosixPath(path).parts
    if path in (CONFIG, LABELS):
        return True
    roots = [(str(version),), *((folder, str(version)) for folder in BESIDE)]
    inside = any(parts[: len(root)] == root and len(parts) > len(root) for root in roots)
    return inside and "/".join(parts) == path and ".." not in parts and "\0" not in path
