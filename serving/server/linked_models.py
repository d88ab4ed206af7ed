"""A repository as tritonserver is given it: linked from a place of plain letters.

Triton's Python backend hands the path of a model to a shell, without quotes, and its stub's Python takes file names for
ASCII: a space in the path ends the stub, and Triton waits for it for ever; what is behind `;` would be run; a file
behind an accent is "not there". What is left out here, the others are served without.

Source: triton-inference-server/python_backend src/stub_launcher.cc, StubLauncher::Launch.
"""

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.repository.names import ALLOWED, SAFE_NAME

PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@%,=-]*")
"""What a shell takes for one word, and as it is."""


def link_models(repository: Path, folder: Path) -> dict[str, str]:
    """Make `folder` a link to the repository; those of its models that cannot be served, with the reason.

    Where there are some, it is a folder with a link to each of the others. Else models that are published later are
    seen through it.
    """
    models = sorted(entry for entry in repository.resolve().iterdir() if entry.is_dir() or entry.is_symlink())
    left_out = {model.name: reason for model in models if (reason := _unfit(model))}
    folder.symlink_to(repository.resolve(), target_is_directory=True)
    if left_out:
        take_out(folder, left_out)
    return left_out


def take_out(folder: Path, names: Collection[str]) -> None:
    """Take models out of what `link_models` made; the repository itself stays as it is."""
    in_a_folder(folder)
    for name in names:
        if (folder / name).is_symlink():
            (folder / name).unlink()
        else:  # a folder of links
            shutil.rmtree(folder / name, ignore_errors=True)


def in_a_folder(folder: Path) -> None:
    """Make of a link to a repository a folder with a link to each model, so that one can be seen otherwise."""
    if folder.is_symlink():
        repository = folder.resolve()
        folder.unlink()
        folder.mkdir()
        for model in repository.iterdir():
            if model.is_dir():
                (folder / model.name).symlink_to(model, target_is_directory=True)


def _unfit(model: Path) -> str:
    if not model.exists():
        return f"it is a link to {model.readlink()}, which is not there: remove or mend it"
    if not model.is_dir():
        return ""
    if not SAFE_NAME.fullmatch(model.name):
        return f"its folder's name has to be of {ALLOWED}, and to begin with none of the last two: rename or move it"
    file = _model_filename(model / "config.pbtxt")
    if not PLAIN_PATH.fullmatch(file):
        return f"default_model_filename is {file!r}, it has to be of {ALLOWED}: rename the file"
    return ""


def _model_filename(config: Path) -> str:
    """`default_model_filename`, "" where there is none; what else is wrong is for Triton to say."""
    try:
        return text_format.Parse(config.read_text(encoding="utf-8"), ModelConfig()).default_model_filename
    except (OSError, ValueError, text_format.ParseError):
        return ""
