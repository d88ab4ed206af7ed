"""One table of the backend's parameters: what the backend takes, what lint lets pass and what the page says."""

import re
from pathlib import Path

import pytest

from serving.backends.onnxruntime.parameters import CUDA_OPTIONS, PARAMETERS, TENSORRT_OPTIONS
from serving.lint.check import lint_model
from tests.unit.serving.conftest import Import


def test_the_documentation_has_every_parameter() -> None:
    """Those of the table in docs/serving.md, with the numbers and the spellings that are allowed."""
    page = Path("docs/serving.md").read_text(encoding="utf-8")
    table = page.partition("| key | allowed | |\n")[2].partition("\n\n")[0]
    rows = {
        key: allowed
        for names, allowed in re.findall(r"^\| (`.+?`) \| (.*?) \|", table, re.MULTILINE)
        for key in re.findall(r"`([^`]+)`", names)
    }
    assert set(rows) == set(PARAMETERS)
    for key, parameter in PARAMETERS.items():
        spellings = {word for word in re.findall(r"\w+", rows[key]) if word != "or"}
        if parameter.choices and not rows[key].startswith("as `"):
            assert spellings == set(parameter.choices), key
    assert rows["intra_op_thread_count"] == PARAMETERS["intra_op_thread_count"].allowed


@pytest.mark.parametrize(
    ("key", "value"),
    [("gpu_mem_limit", "1GB"), ("memory.enable_memory_arena_shrinkage", "all"), ("arena_extend_strategy", "2")],
)
def test_what_the_backend_refuses_lint_finds(tmp_path: Path, backend: Import, key: str, value: str) -> None:
    module = backend("parameters")
    with pytest.raises(
        ValueError, match=f"parameter '{key}' is '{value}', allowed are {module.PARAMETERS[key].allowed}"
    ):
        module.given_or("", {key: value}, key)
    (tmp_path / "config.pbtxt").write_text(
        f'backend: "onnxruntime"\nparameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
    )
    (found,) = [finding for finding in lint_model(tmp_path) if finding.rule == "parameter-value"]
    assert (found.field, found.wanted) == (f"parameters '{key}'", PARAMETERS[key].allowed_everywhere)


def test_lint_lets_pass_what_both_backends_take() -> None:
    assert PARAMETERS["arena_extend_strategy"].option("kSameAsRequested") == "kSameAsRequested"
    assert not PARAMETERS["arena_extend_strategy"].taken_everywhere("kSameAsRequested"), "NVIDIA's takes the number"
    assert TENSORRT_OPTIONS["trt_engine_cache_enable"].option("on") == "True"
    assert not TENSORRT_OPTIONS["trt_engine_cache_enable"].taken_everywhere("on"), "NVIDIA's ONNX Runtime refuses it"
    assert not TENSORRT_OPTIONS["precision_mode"].taken_everywhere("fp16"), "NVIDIA's takes capitals only"
    for table in (PARAMETERS, CUDA_OPTIONS, TENSORRT_OPTIONS):
        for key, parameter in table.items():
            for spelling in parameter.everywhere:
                assert parameter.option(spelling) is not None, key
