"""What is missing around the server is said with its fix."""

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.server import tritonserver


@pytest.fixture
def distribution(tmp_path: Path) -> Path:
    """Something laid out as the wheel's tritonserver, for this Python version."""
    root = tmp_path / "pytriton" / "tritonserver"
    stub = f"python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    python = ("libtriton_python.so", "triton_python_backend_utils.py")
    for file in ("bin/tritonserver", stub, *(f"backends/python/{name}" for name in python)):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
        (root / file).chmod(0o755)
    return root


def test_the_installed_wheel_is_found_without_importing_it() -> None:
    assert tritonserver.find_program().name == "tritonserver"
    assert "pytriton" not in sys.modules


def test_no_wheel_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServingError, match=r"pip install nvidia-pytriton.*--server PATH"):
        tritonserver.find_program()


def test_a_given_program_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"--server .*/none is no program"):
        tritonserver.find_program(tmp_path / "none")
    with pytest.raises(ServingError, match="is no program"):
        tritonserver.find_program(tmp_path)


def test_the_backends_are_laid_out(distribution: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    made = tritonserver.install(distribution / "bin" / "tritonserver", tmp_path / "run")
    python = made.backends / "python"
    assert sorted(file.name for file in python.iterdir()) == [
        "libtriton_python.so",
        "triton_python_backend_stub",
        "triton_python_backend_utils.py",
    ]
    assert os.access(python / "triton_python_backend_stub", os.X_OK)
    backend = {file.name for file in (made.backends / "onnxruntime").iterdir()}
    assert backend == {file.name for file in tritonserver.BACKEND.glob("*.py")} >= {"model.py"}
    assert made.environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert made.environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    libraries = made.environment["LD_LIBRARY_PATH"].split(":")
    assert [file.name for file in Path(libraries[0]).iterdir()] == [tritonserver.find_libpython().name]
    assert libraries[-1] == "/elsewhere"


def test_a_distribution_with_its_own_onnxruntime_backend_is_used_as_it_is(distribution: Path, tmp_path: Path) -> None:
    (distribution / "backends" / "onnxruntime").mkdir()
    made = tritonserver.install(distribution / "bin" / "tritonserver", tmp_path / "run")
    assert made.backends == distribution / "backends"


def test_a_python_version_without_a_stub_is_named(distribution: Path, tmp_path: Path) -> None:
    stubs = distribution / "python_backend_stubs"
    next(stubs.iterdir()).rename(stubs / "3.8")
    with pytest.raises(ServingError, match=r"no Python stub for Python 3\.\d+, it has 3\.8"):
        tritonserver.install(distribution / "bin" / "tritonserver", tmp_path / "run")


def test_a_python_without_shared_library_is_told_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    with pytest.raises(
        ServingError, match=r"libpython3\.\d+\.so\.1\.0, which is not in .*install the package libpython3"
    ):
        tritonserver.find_libpython()
