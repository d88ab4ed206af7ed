"""Find NVIDIA's `tritonserver` and lay out what it needs around it: backends, libraries, environment.

The wheel `nvidia-pytriton` carries the program and its Python backend, with a stub for each Python version; it carries
no ONNX Runtime backend. Triton takes `<backends>/onnxruntime/model.py` for every model of `backend: "onnxruntime"`.

Source: triton-inference-server/backend docs/python_based_backends.md.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ServingError

BACKEND = Path(__file__).parents[1] / "backends" / "onnxruntime"


@dataclass(frozen=True)
class Installation:
    """A `tritonserver` ready to start: its program, backend directory and environment."""

    program: Path
    backends: Path
    environment: dict[str, str]


def find_program(given: Path | None = None) -> Path:
    """The `tritonserver` program: `given`, or that of the installed `nvidia-pytriton` wheel.

    Raises:
        ServingError: There is none, with the command that installs it.
    """
    if given is not None:
        if not (given.is_file() and os.access(given, os.X_OK)):
            raise ServingError(f"--server {given} is no program that can be run")
        return given.resolve()
    # find_spec locates the package without running it: importing pytriton is slow and configures logging.
    spec = importlib.util.find_spec("pytriton")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "tritonserver" / "bin" / "tritonserver"
        if program.is_file():
            return program
    raise ServingError(
        "there is no tritonserver: install it with `pip install nvidia-pytriton`, or name one with --server PATH"
    )


def install(program: Path, folder: Path) -> Installation:
    """Lay out the backends for `program` in `folder`, an empty folder that is kept while the server runs.

    Where the program's own distribution has an ONNX Runtime backend (NVIDIA's container has), that one is used.

    Raises:
        ServingError: The stub or the library of the running Python version is missing, with the fix.
    """
    root = program.parent.parent
    environment = {
        **os.environ,
        # ONNX Runtime sends telemetry by default and reads this once, when it is loaded.
        "ORT_DISABLE_TELEMETRY": "1",
        # The stub runs the first `python3` on the path and so gets its packages.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    if (root / "backends" / "onnxruntime").is_dir():
        return Installation(program, root / "backends", environment)
    # Copies, not links: Triton refuses a library whose real path is outside the backend directory.
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        _copy(root / "backends" / "python" / name, python)
    _copy(_stub(root), python)
    shutil.copytree(BACKEND, folder / "backends" / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))
    # A folder with this one library, so that nothing else beside it gets in front of the system's.
    libraries = folder / "libraries"
    libraries.mkdir()
    libpython = find_libpython()
    (libraries / libpython.name).symlink_to(libpython)
    search = [libraries, root.parent.parent / "nvidia_pytriton.libs", os.environ.get("LD_LIBRARY_PATH")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(str(entry) for entry in search if entry)
    return Installation(program, folder / "backends", environment)


def find_libpython() -> Path:
    """The shared library of the running Python, which Triton's Python stub is linked to.

    The stub would take the first libpython of the same minor version that the loader finds; one of another patch
    release fails in odd ways against this Python's standard library, so it is looked up beside this Python.

    Raises:
        ServingError: This Python has none, with the fix.
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    library_folder = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for folder in (library_folder, library_folder / multiarch, Path(sys.base_prefix) / "lib"):
        if (folder / name).is_file():
            return folder / name
    raise ServingError(
        f"Triton's Python backend needs {name}, which is not in {library_folder}: on Debian and Ubuntu install "
        f"the package {name.removesuffix('.so.1.0')}; a Python built from source needs ./configure --enable-shared"
    )


def _stub(root: Path) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stubs = root / "python_backend_stubs"
    stub = stubs / version / "triton_python_backend_stub"
    if stub.is_file() or not stubs.is_dir():
        return stub if stub.is_file() else root / "backends" / "python" / stub.name
    there = ", ".join(
        sorted((entry.name for entry in stubs.iterdir()), key=lambda name: [int(n) for n in name.split(".")])
    )
    raise ServingError(f"this tritonserver has no Python stub for Python {version}, it has {there}")


def _copy(file: Path, folder: Path) -> None:
    if not file.is_file():
        raise ServingError(f"this tritonserver has no Python backend: {file} is missing")
    shutil.copy2(file, folder)
