"""Crops, reflections and intensities against the plain way to do them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.data.augmentation import Augmentation, Views, random_crop, to_unit_range

SHIFT = 2


@pytest.fixture
def images() -> torch.Tensor:
    """64 images of noise, uint8 [64, 6, 9, 2]."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 6, 9, 2), np.uint8))


def places(image: torch.Tensor) -> list[torch.Tensor]:
    """Every crop of one padded image [height, width, channels]."""
    height, width, _ = image.shape
    padded = functional.pad(image.permute(2, 0, 1).float(), (SHIFT,) * 4, mode="replicate").permute(1, 2, 0)
    return [
        padded[top : top + height, left : left + width].to(image.dtype)
        for top in range(2 * SHIFT + 1)
        for left in range(2 * SHIFT + 1)
    ]


def test_each_image_is_one_of_its_crops_and_not_all_the_same(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    chosen = [
        [torch.equal(crop, place) for place in places(image)].index(True)
        for image, crop in zip(images, random_crop(images, SHIFT), strict=True)
    ]
    assert len(set(chosen)) > 10


def test_about_half_of_the_images_are_mirrored_and_the_others_untouched(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    turned = random_crop(images, 0, mirror=True)
    mirrored = [torch.equal(after, before.flip(1)) for before, after in zip(images, turned, strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(images, turned, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_nothing_asked_for_changes_nothing(images: torch.Tensor) -> None:
    assert torch.equal(Augmentation(0, mirror=False, intensity=0)(images), to_unit_range(images))


def test_intensity_is_one_line_an_image_within_its_bounds(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    before, after = to_unit_range(images), Augmentation(0, mirror=False, intensity=0.2)(images)
    slopes = []
    for x, y in zip(before, after, strict=True):
        slope, offset = np.polyfit(x.flatten().numpy(), y.flatten().numpy(), 1)
        assert np.allclose(y, slope * x + offset, atol=1e-5)
        assert 0.8 <= slope <= 1.2
        assert -0.2 <= offset <= 0.2
        slopes.append(slope)
    assert np.std(slopes) > 0.05


def test_the_same_seed_augments_alike(images: torch.Tensor) -> None:
    augmentation = Augmentation(SHIFT, mirror=True, intensity=0.1)
    torch.manual_seed(5)
    first = augmentation(images)
    torch.manual_seed(5)
    assert torch.equal(augmentation(images), first)


@pytest.mark.parametrize(("kind", "count"), [("image", 1), ("mirrored", 2), ("crops", 5), ("mirrored-crops", 10)])
def test_views_are_the_image_its_crops_and_their_mirror_images(images: torch.Tensor, kind: str, count: int) -> None:
    image = images[:1]
    seen = Views(kind, SHIFT)(image.permute(0, 3, 1, 2).float())  # type: ignore[arg-type]
    crops = [place.permute(2, 0, 1)[None].float() for place in places(image[0])]
    assert len(seen) == count
    assert torch.equal(seen[0], image.permute(0, 3, 1, 2).float())
    if "crops" in kind:
        side = 2 * SHIFT + 1
        for view, place in zip(seen[1:5], (0, side - 1, side * (side - 1), side * side - 1), strict=True):
            assert torch.equal(view, crops[place])
    if "mirrored" in kind:
        for view, turned in zip(seen[: count // 2], seen[count // 2 :], strict=True):
            assert torch.equal(turned, view.flip(3))
