"""External data of an ONNX model: files beside it that hold its weights.

The model names them itself, so a hostile one may name any file of the machine, and publishing would put it where a
server reads it. Only plain files inside the model's own folder are taken, and no links, which lead anywhere.

Source: onnx docs/ExternalData.md and docs/security.md.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import onnx

from serving.errors import ServingError

Tensors = Iterable[onnx.TensorProto]


class ExternalDataError(ServingError):
    """A model's external data are missing, damaged or where they must not be."""


PUBLISHED_FILES = ("model.onnx", "manifest.json", "parity.json", "golden.npz")
"""What else a version's folder holds."""


def check_external_data(tensors: Tensors, folder: Path, where: str) -> tuple[str, ...]:
    """The files that `tensors` keep their values in, relative to `folder` and sorted.

    Raises:
        ExternalDataError: A file outside the folder, one behind a link, a missing one, one that ends before its
            tensors, or one whose name a published version needs itself. `where` begins the message.
    """
    files: dict[str, int] = {}
    for tensor in tensors:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        said = f"{where}: the external data of tensor {tensor.name!r}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = _inside(entries.get("location", ""), said)
        if location not in files:
            files[location] = _size(folder, location, said)
        offset, length = (_number(entries, key, said) for key in ("offset", "length"))
        if offset + length > files[location]:
            raise ExternalDataError(
                f"{said} are bytes {offset:,} to {offset + length:,} of {location!r}, which has {files[location]:,}; "
                "it is damaged or truncated, copy or export it again"
            )
    return tuple(sorted(files))


def _inside(location: str, said: str) -> str:
    """`location` in its shortest form."""
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in location or "\\" in location:
        raise ExternalDataError(
            f"{said} are in {location!r}; allowed is the name of a file inside the model's own folder, without '..'"
        )
    if str(path) in PUBLISHED_FILES or path.parts[0] in PUBLISHED_FILES:
        raise ExternalDataError(
            f"{said} are in {location!r}, a name that a published version needs for its own files; save the model "
            "with another name for its data: onnx.save(model, path, save_as_external_data=True, location='weights')"
        )
    return str(path)


def _size(folder: Path, location: str, said: str) -> int:
    root = folder.resolve()
    path = root / location
    try:
        if path.resolve() != path:
            raise ExternalDataError(
                f"{said} are in {location!r}, which is reached by a link; put a copy in its place (cp -L)"
            )
        found = path.stat()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ExternalDataError(
            f"{said} are in {location!r}, which cannot be read ({reason}); it belongs beside the model"
        ) from error
    if not path.is_file():
        raise ExternalDataError(f"{said} are in {location!r}, which is no plain file")
    if found.st_nlink > 1:
        raise ExternalDataError(
            f"{said} are in {location!r}, which has {found.st_nlink} hard links; put a copy in its place (cp)"
        )
    return found.st_size


def _number(entries: dict[str, str], key: str, said: str) -> int:
    text = entries.get(key, "0")
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ExternalDataError(f"{said} have the {key} {text!r}, it must be a number of bytes")
    return int(text)
