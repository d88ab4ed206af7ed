"""The exported files compute on the GPU what the weights compute: in fp32 without and with TF32, and in fp16."""

from pathlib import Path

import pytest

from tests.gpu import exactness

RECIPES = ("cnn", "resnet", "lstm", "autoencoder", "gan")
# TF32 came with this compute capability.
AMPERE = 8


@pytest.mark.parametrize("model", RECIPES)
def test_fp32_without_tf32_is_as_exact_as_on_a_cpu(artifacts: Path, model: str) -> None:
    """The same grid, tolerance, budget, score and chain as at export."""
    assert list(exactness.fp32_failures(model, "cuda")) == []


@pytest.mark.parametrize("model", RECIPES)
def test_fp32_with_tf32_is_as_exact_as_tf32_is(artifacts: Path, model: str) -> None:
    for served in exactness.served_of(model):
        assert exactness.grid(served, "cuda", tf32=True).failures == []


def test_tf32_is_off_where_it_is_turned_off(artifacts: Path) -> None:
    """With it on, the convolutions of resnet are seen to round: so off is not on."""
    import torch

    if torch.cuda.get_device_capability()[0] < AMPERE:
        pytest.skip("this GPU has no TF32")
    (served,) = exactness.served_of("resnet")
    exact, rounded = (exactness.grid(served, "cuda", tf32).worst() for tf32 in (False, True))
    assert rounded > 10 * exact


@pytest.mark.parametrize("model", RECIPES)
def test_fp16_keeps_the_score(artifacts: Path, tmp_path: Path, model: str) -> None:
    assert list(exactness.half_failures(model, "cuda", tmp_path)) == []
