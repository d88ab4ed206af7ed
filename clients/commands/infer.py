"""conch call infer cnn --input image=images.npy --output probabilities=answers.npy

generate.py | conch call infer cnn --input - --output -
"""

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.client import Client
from clients.commands.arrays import read_inputs
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import BadCommand
from clients.strings import readable, storable
from clients.terminal import print_json
from clients.writing import check_writable, write_whole

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class Infer(Endpoint):
    """Send arrays to any model and show or keep what comes back.

    conch call infer cnn --input image=images.npy --output probabilities=answers.npy
    """

    model: Annotated[str, tyro.conf.Positional]
    """A model on the server."""

    input: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """NAME=FILE for each input, in a list or a flag each: a .npy file, a JSON list or, for text, lines. Or FILE with
    all inputs by name: a .npz file, a JSON object, a KServe request. - is the standard input. Type and shape must be
    the model's, with the batch as first axis; numbers of JSON become the model's type."""

    output: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=FILE.npy, one for each output to keep; text is kept as NumPy's strings, which need no pickle. NAME=- writes
    it to the standard output, and nothing else."""

    version: str = ""
    """A version of the model; default: the server's choice."""

    def run(self, client: Client, console: Console) -> None:
        files = _files(self.output)
        metadata = client.metadata(self.model, self.version)
        metadata.check_outputs(list(files))
        for path in files.values():
            if path != STANDARD_OUTPUT:
                check_writable(path)
        answers = client.infer(self.model, read_inputs(self.input, metadata), version=self.version)
        kept = {name: storable(answers[name], f"cannot write {path}: output {name!r}") for name, path in files.items()}
        for name, path in files.items():
            _write(path, kept[name])
        if STANDARD_OUTPUT in files.values():
            return
        if self.json:
            print_json([_document(name, values, files.get(name)) for name, values in answers.items()])
        else:
            console.print(_table(answers, files))


def _table(answers: Mapping[str, np.ndarray], files: Mapping[str, Path]) -> Table:
    table = Table("output", "type", "shape", "kept in" if files else "values")
    for name, values in answers.items():
        last = str(files.get(name, "")) if files else np.array2string(readable(values), threshold=12, precision=4)
        table.add_row(*map(Text, (name, _type(values), str(list(values.shape)), last)))
    return table


def _document(name: str, values: np.ndarray, kept: Path | None) -> dict[str, Any]:
    """An output for programs, with its values where no file keeps them."""
    found: dict[str, Any] = {"output": name, "type": _type(values), "shape": list(values.shape)}
    return found | ({"kept_in": str(kept)} if kept else {"values": readable(values).tolist()})


def _type(values: np.ndarray) -> str:
    return "text" if values.dtype == object else str(values.dtype)


def _files(words: tuple[str, ...]) -> dict[str, Path]:
    """By the output's name. Raises BadCommand."""
    found: dict[str, Path] = {}
    for word in words:
        name, separator, path = word.partition("=")
        if not (name and separator and path):
            raise BadCommand(f"--output {word}: expected NAME=FILE.npy")
        if name in found:
            raise BadCommand(f"--output {word}: {name} is given twice")
        found[name] = Path(path)
    if list(found.values()).count(STANDARD_OUTPUT) > 1:
        raise BadCommand("--output: the standard output, -, takes one array")
    return found


def _write(path: Path, array: np.ndarray) -> None:
    def write(file: BinaryIO) -> None:
        np.save(file, array, allow_pickle=False)

    if path == STANDARD_OUTPUT:
        buffer = io.BytesIO()  # np.save asks a file for its place, which a pipe has not
        write(buffer)
        sys.stdout.buffer.write(buffer.getvalue())
    else:
        write_whole(path, write)
