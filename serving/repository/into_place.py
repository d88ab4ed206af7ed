"""Move a version that is whole into a model's folder, beside what is served: one rename after the other, no half of it.

What comes before the last rename also fits the versions that are there, so a writer killed in between harms none.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from conch.contracts.live import CONFIG, FOLDER_OF_CONFIGS, LABELS
from conch.contracts.versions import versions
from conch.contracts.whole import staging_folder, sync, write_whole
from serving.repository import sequences, warm_up

BESIDE = (warm_up.FOLDER, sequences.INITIAL_FOLDER)
"""The folders beside the versions that hold a folder for each of them."""


@contextlib.contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A folder to write in, gone afterwards.

    It is beside the repository, because Triton takes every folder inside, hidden ones too, for a model and fails to
    start on one without a version. Only where the repository is a file system of its own it must be inside.
    """
    outside = repository.resolve().parent
    home = outside if outside.stat().st_dev == repository.stat().st_dev else repository
    with staging_folder(home) as folder:
        yield folder


def move_into_place(staged_model: Path, model: Path, version: int) -> None:
    """Rename what was staged: a new model as one folder, a version of a known one after what it needs beside it.

    Args:
        staged_model: A model's folder with this one version, on the disk.
        model: Its place; the caller holds the repository's lock.
        version: Its number, which `model` has not yet.

    Raises:
        OSError: It cannot be moved.
    """
    if not model.exists():
        staged_model.rename(model)
    else:
        for beside in BESIDE:
            _move_beside(staged_model / beside / str(version), model / beside)
        if version > max(versions(model), default=0):
            _keep_configuration(model)
            # The configuration goes first: it also fits the versions already there, or serves only the one to come.
            _move_configuration(staged_model, model, CONFIG, LABELS)
        else:
            folder = model / FOLDER_OF_CONFIGS
            folder.mkdir(exist_ok=True)
            _move_configuration(staged_model, folder, f"{version}.pbtxt", f"{version}.{LABELS}")
            sync(folder)
        (staged_model / str(version)).rename(model / str(version))
        sync(model)
    sync(model.parent)


def take_back(model: Path, version: int) -> None:
    """Undo `move_into_place` of the newest version: what was served before is served again, as it was.

    Raises:
        OSError: It cannot be moved back.
    """
    shutil.rmtree(model / str(version))
    if (newest := max(versions(model), default=None)) is None:
        shutil.rmtree(model)
        return
    folder = model / FOLDER_OF_CONFIGS
    for kept, name in ((f"{newest}.pbtxt", CONFIG), (f"{newest}.{LABELS}", LABELS)):
        (model / name).unlink(missing_ok=True)
        if (folder / kept).exists():
            (folder / kept).rename(model / name)
    sync(model)


def _move_configuration(staged_model: Path, folder: Path, config: str, labels: str) -> None:
    for file, name in ((CONFIG, config), (LABELS, labels)):
        if (staged_model / file).exists():
            (staged_model / file).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _keep_configuration(model: Path) -> None:
    """Keep what the newest version is served under, for when it is live and a newer one is not."""
    newest = max(versions(model), default=None)
    if newest is None or not (model / CONFIG).exists():
        return
    folder = model / FOLDER_OF_CONFIGS
    folder.mkdir(exist_ok=True)
    write_whole(folder / f"{newest}.pbtxt", (model / CONFIG).read_bytes())
    if (model / LABELS).exists():
        write_whole(folder / f"{newest}.{LABELS}", (model / LABELS).read_bytes())
    sync(folder)


def _move_beside(staged: Path, folder: Path) -> None:
    """Add what a version needs beside it; that of other versions stays, which may be live or become it."""
    if staged.exists():
        folder.mkdir(exist_ok=True)
        shutil.rmtree(folder / staged.name, ignore_errors=True)  # of a publication that was killed at this place
        staged.rename(folder / staged.name)
        sync(folder)
    for number in {*versions(folder)} - {*versions(folder.parent), int(staged.name)}:
        shutil.rmtree(folder / str(number), ignore_errors=True)
