"""make setup: which Python and which .venv it takes, with programs that stand for Python and pip; make clean."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A Python of a version that can make an environment of itself; pip says what it was called with.
PYTHON = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "#!$PWD/$3/bin/python" >"$3/bin/pip" ;;
"-m pip") shift 2; echo "pip $*" ;;
*) echo VERSION ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what make setup reads, and python3.N programs in bin/; python3 is 3.11."""
    folder = tmp_path / "check out"
    (folder / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    for version in ("3.10", "3.11", "3.12", "3.14"):
        program = folder / "bin" / f"python{version}"
        program.write_text(PYTHON.replace("VERSION", version))
        program.chmod(0o755)
    (folder / "bin" / "python3").symlink_to("python3.11")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Without this process's own variables of make and Python, and without its artifacts."""
    return {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder)}


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The end of `make WORDS` in `folder`."""
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment(folder) | variables, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def version(folder: Path) -> str:
    """Of the Python in .venv."""
    ended = subprocess.run([folder / ".venv" / "bin" / "python", "-c", ""], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_the_pythons_are_those_of_pyproject() -> None:
    low, high = re.findall(
        r"3\.(\d+)", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    (named,) = re.findall(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named.split() == [f"3.{minor}" for minor in range(int(low), int(high))]


@pytest.mark.parametrize(
    ("python", "says"),
    [("python3.10", "is Python 3.10"), ("python3.14", "is Python 3.14"), ("nopython", "does not run")],
)
def test_a_python_that_does_not_suit_is_one_line_before_pip_runs_and_leaves_venv(
    checkout: Path, python: str, says: str
) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()
    ended = make(checkout, "setup", f"PYTHON={python}")
    assert ended.returncode == 2
    assert f"{python} {says}, Conch needs one of 3.11 3.12 3.13: PYTHON=python3.11 make setup" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert (checkout / ".venv" / "mine").exists()


def test_where_no_suited_python_is_found_it_is_to_be_installed(checkout: Path) -> None:
    shutil.copy(checkout / "bin" / "python3.10", checkout / "bin" / "python3.11")
    shutil.copy(checkout / "bin" / "python3.10", checkout / "bin" / "python3.12")
    (checkout / "bin" / "python3.13").symlink_to("python3.10")
    assert "install one of them; then: PYTHON=python3.11 make setup" in make(checkout, "setup").stderr


def test_setup_says_its_steps_and_what_pip_does_and_is_then_up_to_date(checkout: Path) -> None:
    first = make(checkout, "setup", "ACCEL=cpu")
    assert first.returncode == 0, first.stderr
    assert [line[:3] for line in first.stdout.splitlines() if "/3" in line] == ["1/3", "2/3", "3/3"]
    (installs,) = [line for line in first.stdout.splitlines() if line.startswith("pip install")]
    assert "--editable .[cpu,dev]" in installs
    assert "quiet" not in installs
    assert "Nothing to be done" in make(checkout, "setup", "ACCEL=cpu").stdout


@pytest.mark.parametrize("asked", ["flag", "environment"])
def test_a_venv_of_another_python_is_made_anew(checkout: Path, asked: str) -> None:
    make(checkout, "setup", "ACCEL=cpu")
    words, variables = (["PYTHON=python3.12"], {}) if asked == "flag" else ([], {"PYTHON": "python3.12"})
    ended = make(checkout, "setup", "ACCEL=cpu", *words, **variables)
    assert "1/3 a new .venv with Python 3.12; the old one is of Python 3.11" in ended.stdout
    assert version(checkout) == "3.12"
    assert "Nothing to be done" in make(checkout, "setup", "ACCEL=cpu", *words, **variables).stdout
    # Nobody who set it up with another Python has to say so again.
    assert "Nothing to be done" in make(checkout, "setup", "ACCEL=cpu").stdout


def _of_an_unsuited_python(folder: Path) -> None:
    shutil.copy(folder / "bin" / "python3.10", folder / ".venv" / "bin" / "python")


def _interpreter_gone(folder: Path) -> None:
    (folder / ".venv" / "bin" / "python").unlink()
    (folder / ".venv" / "bin" / "python").symlink_to("/nowhere/python3.11")


def _copied(folder: Path) -> None:
    (folder / ".venv" / "bin" / "pip").write_text("#!/another/checkout/.venv/bin/python\n")


def _without_pip(folder: Path) -> None:
    (folder / ".venv" / "bin" / "pip").unlink()


@pytest.mark.parametrize("spoil", [_of_an_unsuited_python, _interpreter_gone, _copied, _without_pip])
def test_a_venv_that_cannot_be_used_is_made_anew(checkout: Path, spoil: Callable[[Path], None]) -> None:
    make(checkout, "setup", "ACCEL=cpu")
    (checkout / ".venv" / "left").touch()
    spoil(checkout)
    ended = make(checkout, "setup", "ACCEL=cpu")
    assert "a new .venv with Python 3.11; the old one is " in ended.stdout
    assert version(checkout) == "3.11"
    assert not (checkout / ".venv" / "left").exists()


def test_a_checkout_that_was_moved_is_set_up_anew(checkout: Path) -> None:
    make(checkout, "setup", "ACCEL=cpu")
    moved = checkout.rename(checkout.with_name("elsewhere"))
    assert "broken or was made elsewhere" in make(moved, "setup", "ACCEL=cpu").stdout
    assert "Nothing to be done" in make(moved, "setup", "ACCEL=cpu").stdout


def test_clean_says_what_it_removes_and_leaves_environment_and_artifacts(checkout: Path) -> None:
    for name in (".ruff_cache", "build", "conch.egg-info", "conch/__pycache__", ".venv/lib/__pycache__"):
        (checkout / name).mkdir(parents=True)
    (checkout / "artifacts" / "models").mkdir(parents=True)
    ended = make(checkout, "clean")
    assert ended.returncode == 0, ended.stderr
    assert re.findall(r"\t(.*)", ended.stdout) == [".ruff_cache", "build", "conch.egg-info", "folders __pycache__"]
    left = {".venv", "Makefile", "artifacts", "bin", "conch", "constraints.txt", "pyproject.toml"}
    assert {path.name for path in checkout.iterdir()} == left
    assert not any((checkout / "conch").iterdir())
    assert (checkout / ".venv" / "lib" / "__pycache__").exists()


def test_clean_all_says_what_it_removes_and_leaves_what_is_not_its_own(checkout: Path) -> None:
    for name in (".venv", "my artifacts/models", "my artifacts/report", "my", "my artifacts/holiday"):
        (checkout / name).mkdir(parents=True)
    ended = make(checkout, "clean-all", CONCH_ARTIFACTS="my artifacts")
    assert ended.returncode == 0, ended.stderr
    assert re.findall(r"\t(.*)", ended.stdout) == [".venv", "my artifacts/models", "my artifacts/report"]
    assert [path.name for path in (checkout / "my artifacts").iterdir()] == ["holiday"]
    assert (checkout / "my").exists()
    assert not (checkout / ".venv").exists()


def test_clean_all_asks_a_person(checkout: Path) -> None:
    (checkout / "artifacts" / "models").mkdir(parents=True)
    command = ["script", "--quiet", "--return", "--command", "make clean-all", "/dev/null"]
    for answer, left in (("n\n", True), ("y\n", False)):
        ended = subprocess.run(
            command, cwd=checkout, env=environment(checkout), input=answer, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stdout
        assert "Really? [y/N]" in ended.stdout
        assert (checkout / "artifacts").exists() is left


def test_clean_all_knows_every_folder_that_runs_make() -> None:
    pattern = r"artifacts(?:_folder\(\))? / \"([a-z-]+)\""
    sources = [*ROOT.glob("[a-z]*/**/*.py")]
    made = {name for file in sources if "unit" not in file.parts for name in re.findall(pattern, file.read_text())}
    (named,) = re.findall(r"^MADE_BY_RUNS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert made - {"calls"} == set(named.split()) - {"calls"}
