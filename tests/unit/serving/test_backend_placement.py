"""What an instance asks for against what it got: a fallback is told, and refused where a GPU is a must."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.conftest import Import
from tests.unit.serving.test_execution_providers import CPU, CUDA, TENSORRT, accelerated, cuda, graphs, tensorrt


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", set()),
        ("instance_group { count: 2 }", set()),
        ("instance_group [ { kind: KIND_GPU }, { kind:KIND_CPU } ]", {"KIND_GPU", "KIND_CPU"}),
        ("# kind: KIND_GPU\ninstance_group { kind : 2 }", {"KIND_CPU"}),
    ],
)
def test_the_kinds_are_those_of_the_file(backend: Import, tmp_path: Path, text: str, wanted: set[str]) -> None:
    (tmp_path / "config.pbtxt").write_text(text)
    assert backend("placement").stated_kinds(tmp_path) == wanted
    assert backend("placement").stated_kinds(tmp_path / "none") == set()


@pytest.mark.parametrize(
    ("config", "kind", "stated", "providers", "wanted"),
    [
        ({}, "CPU", set(), [CPU], ""),
        ({}, "GPU", set(), [CUDA, CPU], ""),
        ({}, "GPU", {"KIND_GPU"}, [CUDA, CPU], ""),
        ({}, "GPU", {"KIND_AUTO"}, [CPU], f"asks for {CUDA} and runs on {CPU}: this ONNX Runtime or its libraries"),
        (accelerated(gpu=[cuda(use_tf32="0")]), "CPU", set(), [CPU], ""),
        (accelerated(gpu=[tensorrt()]), "GPU", {"KIND_GPU"}, [TENSORRT, CUDA, CPU], ""),
        (accelerated(gpu=[tensorrt()]), "GPU", {"KIND_GPU"}, [CUDA, CPU], f"asks for {TENSORRT} and runs on {CUDA}: "),
        (accelerated(gpu=[tensorrt()]), "CPU", set(), [CPU], f"{TENSORRT} and runs on {CPU}: there is no GPU for it"),
        (accelerated(gpu=[tensorrt()]), "CPU", {"KIND_CPU"}, [CPU], ""),
        (graphs({}, 1), "CPU", {"KIND_AUTO"}, [CPU], f"asks for {CUDA} and runs on {CPU}: there is no GPU for it"),
    ],
)
def test_a_fallback_that_is_allowed_is_told(
    backend: Import, config: dict[str, Any], kind: str, stated: set[str], providers: list[str], wanted: str
) -> None:
    told = backend("placement").check_placement(config, kind, stated, providers)
    assert told.startswith(wanted) if wanted.startswith("asks") else wanted in told
    assert bool(told) == bool(wanted)


def test_a_gpu_that_is_a_must_is_not_replaced(backend: Import) -> None:
    with pytest.raises(ValueError, match=r"kind KIND_GPU, but CUDA\w+ cannot be used here, only CPU"):
        backend("placement").check_placement({}, "GPU", {"KIND_GPU"}, [CPU])
