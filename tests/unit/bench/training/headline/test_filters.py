"""Classical filters are tuned fairly: the best of the grid is taken, and what clipping did to the brightness undone."""

from dataclasses import replace

import numpy as np
import pytest

from tests.bench.training.headline.filters import UNCHANGED, Filter, contenders, fit_line, tune
from training.data.images import digits, spread
from training.recipes.autoencoder import add_noise, psnr

CLEAN = spread(digits().train, 6)


def test_the_best_of_the_grid_is_chosen() -> None:
    shifting = Filter("shift", lambda images, by: images + by, {"by": (-0.2, -0.1, 0.0, 0.1, 0.2)})
    darkened = np.clip(CLEAN.astype(int) - 26, 0, 255).astype(np.uint8)  # a tenth of the range
    alone, _ = tune(shifting, darkened, CLEAN)
    assert alone.settings == {"by": 0.1}
    assert alone.line == UNCHANGED
    assert not alone.corrected
    assert alone.psnr == psnr(alone(darkened), CLEAN)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_correction_undoes_a_straight_line() -> None:
    halving = Filter("half", lambda images: images / 2 + 0.25, {})
    alone, corrected = tune(halving, CLEAN, CLEAN)
    assert corrected.line == pytest.approx((2.0, -0.5), abs=1e-3)
    assert np.array_equal(corrected(CLEAN), CLEAN)
    assert alone.psnr < 20


def test_the_line_is_that_of_least_squares() -> None:
    filtered = np.array([0.0, 0.5, 1.0])
    assert fit_line(filtered, np.array([51, 102, 153], np.uint8)) == pytest.approx((0.4, 0.2))


@pytest.mark.parametrize("filter", contenders(0.5), ids=lambda filter: filter.name)
def test_each_filter_takes_noise_away(filter: Filter) -> None:
    noisy = add_noise(CLEAN, 0.5)
    small = replace(filter, grid={name: values[1:3] for name, values in filter.grid.items()})
    alone, corrected = tune(small, noisy, CLEAN)
    assert alone(noisy).shape == noisy.shape
    assert alone(noisy).dtype == np.uint8
    assert alone.psnr > psnr(noisy, CLEAN) + 1
    assert corrected.psnr > alone.psnr


@pytest.mark.parametrize("filter", contenders(0.5), ids=lambda filter: filter.name)
def test_images_are_filtered_each_alone(filter: Filter) -> None:
    settings = {name: values[len(values) // 2] for name, values in filter.grid.items()}
    images = add_noise(CLEAN, 0.5) / np.float32(255)
    together = filter.apply(images, **settings)
    assert np.allclose(together[2:3], filter.apply(images[2:3], **settings), atol=1e-6)
