"""The README's commands do what it says: each is run as written, at small size where it would take minutes."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.server.server import Server

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# A checkpoint of full size is not what these tests are about.
SMALLER = {"--epochs 30": "--epochs 6 --no-floors", "--hidden 64": "--hidden 64 --epochs 8"}


def blocks(language: str) -> list[str]:
    """The README's fenced code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(start: str) -> list[str]:
    """The README's shell commands that begin with `start`, comments removed."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.startswith(start)]


COMMANDS = commands("conch ")
WORKSHOP = [line for line in COMMANDS if re.match(r"conch (train|export|serve)", line)]
AGAINST_A_SERVER = [line for line in COMMANDS if line not in WORKSHOP]
# The console script is beside the Python that runs the tests.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def run(command: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command in `folder`."""
    for full, small in SMALLER.items():
        command = command.replace(full, small)
    words = [str(shutil.which(shlex.split(command)[0], path=PATH)), *shlex.split(command)[1:]]
    return subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PATH": PATH} | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user's own, with the README's recipe and pictures to call the models with."""
    folder = tmp_path_factory.mktemp("readme")
    (recipe,) = blocks("python")
    (folder / "two_layers.py").write_text(recipe)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(pixels).save(folder / "digit.png")
    Image.fromarray(pixels).save(folder / "noisy.png")
    np.save(folder / "image.npy", pixels.reshape(1, 28, 28, 1))
    return folder


def test_commands_are_found() -> None:
    assert len(WORKSHOP) >= 6
    assert len(AGAINST_A_SERVER) >= 9


def test_train_export_and_serve_in_the_readme_s_order(workshop: Path) -> None:
    environment = {"CONCH_ARTIFACTS": str(workshop / "artifacts")}
    for command in WORKSHOP:
        done = run(command, workshop, environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (workshop / "artifacts" / "models" / "two_layers" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, marks=pytest.mark.timing) if line.startswith("conch load") else line
        for line in AGAINST_A_SERVER
    ],
)
def test_against_a_running_server(command: str, workshop: Path, triton: Server, artifacts: Path) -> None:
    environment = {"CONCH_ARTIFACTS": str(artifacts), "CONCH_HTTP": triton.http, "CONCH_GRPC": triton.grpc}
    done = run(command, workshop, environment)
    # The shared repository has models made by hand without a proof, which the report must tell.
    expected = 1 if command == "conch report" else 0
    assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z][a-z-]*[a-z])", README))))
def test_make_targets_exist(target: str) -> None:
    assert shutil.which("make")
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_that_the_readme_links_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
