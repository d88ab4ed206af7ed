"""What the tests of the backend's own files share."""

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace

import pytest

from serving.server.tritonserver import BACKEND

Import = Callable[[str], ModuleType]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """Imports a file of the onnxruntime backend as Triton does, with what Triton's stub would provide.

    Warnings that it logs are in `sys.modules["triton_python_backend_utils"].warnings`.
    """
    warnings: list[str] = []
    provided = SimpleNamespace(Logger=SimpleNamespace(log_warn=warnings.append), warnings=warnings)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", provided)
    monkeypatch.syspath_prepend(str(BACKEND))
    yield importlib.import_module
    for file in BACKEND.glob("*.py"):
        sys.modules.pop(file.stem, None)
