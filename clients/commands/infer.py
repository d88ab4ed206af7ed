"""conch call infer cnn --input image=images.npy --output probabilities=answers.npy"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.client import Client
from clients.commands.endpoint import Tabular
from clients.errors import ClientError, UnreadableInput
from clients.strings import readable, storable
from clients.terminal import print_json
from clients.writing import check_writable, write_whole


@dataclass(frozen=True, kw_only=True)
class Infer(Tabular):
    """Send arrays to any model and show or keep what comes back."""

    model: Annotated[str, tyro.conf.Positional]
    """A model on the server."""

    input: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """NAME=FILE.npy for each input, in a list or a flag each; type and shape must be the model's, with the batch as
    first axis. Text is an array of NumPy's strings."""

    output: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=FILE.npy, one for each output to keep; text is kept as NumPy's strings, which need no pickle."""

    version: str = ""
    """A version of the model; default: the server's choice."""

    def run(self, client: Client, console: Console) -> None:
        files = _pairs("--output", self.output)
        metadata = client.metadata(self.model, self.version)
        metadata.check_outputs(list(files))
        for path in files.values():
            check_writable(path)
        inputs = {name: _read(path) for name, path in _pairs("--input", self.input).items()}
        answers = client.infer(self.model, inputs, version=self.version)
        kept = {name: storable(answers[name], f"cannot write {path}: output {name!r}") for name, path in files.items()}
        for name, path in files.items():
            _write(path, kept[name])
        if self.json:
            print_json([_document(name, values, files.get(name)) for name, values in answers.items()])
            return
        table = Table("output", "type", "shape", "kept in" if files else "values")
        for name, values in answers.items():
            last = str(files.get(name, "")) if files else np.array2string(readable(values), threshold=12, precision=4)
            table.add_row(*map(Text, (name, _type(values), str(list(values.shape)), last)))
        console.print(table)


def _document(name: str, values: np.ndarray, kept: Path | None) -> dict[str, Any]:
    """An output for programs, with its values where no file keeps them."""
    found: dict[str, Any] = {"output": name, "type": _type(values), "shape": list(values.shape)}
    return found | ({"kept_in": str(kept)} if kept else {"values": readable(values).tolist()})


def _type(values: np.ndarray) -> str:
    return "text" if values.dtype == object else str(values.dtype)


def _pairs(flag: str, pairs: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not (name and separator and path):
            raise ClientError(f"{flag} {pair}: expected NAME=FILE.npy")
        if name in found:
            raise ClientError(f"{flag} {pair}: {name} is given twice")
        found[name] = Path(path)
    return found


def _read(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UnreadableInput(f"no such file: {path}") from error
    except (OSError, ValueError, EOFError, MemoryError, BadZipFile) as error:
        if "Object arrays" in str(error):
            raise UnreadableInput(
                f"{path} holds Python objects, which only pickle can read; save text as strings: array.astype(str)"
            ) from error
        raise UnreadableInput(f"{path} is no .npy file of numbers or strings") from error
    if not isinstance(array, np.ndarray):
        raise UnreadableInput(f"{path} holds several arrays; one .npy file for each input is needed")
    return array


def _write(path: Path, array: np.ndarray) -> None:
    def write(file: BinaryIO) -> None:
        np.save(file, array, allow_pickle=False)

    write_whole(path, write)
