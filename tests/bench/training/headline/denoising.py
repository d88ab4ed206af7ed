"""The denoising autoencoder against classical filters, on the same noisy held-out images."""

from __future__ import annotations

from pathlib import Path

from tests.bench.training.headline.filters import Pixels, Tuned, contenders, tune
from tests.bench.training.headline.judgement import Judgement, Table
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.drawing import draw_rows
from training.data.images import Images, spread
from training.predict import torch_predict
from training.recipe import Metric
from training.recipes.autoencoder import Autoencoder, add_noise, psnr

TUNED_ON = 200
SHOWN = 12


def judge_denoiser(checkpoint: Checkpoint, folder: Path) -> Judgement:
    """PSNR of the served module's pixels and of every filter's; draws them beside each other."""
    recipe, data = checkpoint.recipe, checkpoint.data
    assert isinstance(recipe, Autoencoder)
    assert isinstance(data, Images)
    tuned = tuned_filters(data, recipe.sigma)
    clean, noisy = data.held_out, add_noise(data.held_out, recipe.sigma)
    denoised = torch_predict(recipe.served(checkpoint.trained, data)[0])({"image": noisy})["denoised"]  # type: ignore[arg-type]
    filtered = [one(noisy) for one in tuned]
    ours, reached = psnr(denoised, clean), [psnr(images, clean) for images in filtered]
    _draw(folder / "filters.png", clean, noisy, tuned, filtered, denoised)
    best_alone = max(value for one, value in zip(tuned, reached, strict=True) if not one.corrected)
    return Judgement(
        metrics=(
            Metric("PSNR above the best filter", ours - max(reached), "dB"),
            Metric("PSNR above the best filter without correction", ours - best_alone, "dB"),
            Metric("PSNR", ours, "dB"),
            Metric("PSNR of the best filter", max(reached), "dB"),
        ),
        how=(
            f"Peak signal-to-noise ratio over all pixels of {len(clean):,} held-out images with noise of standard "
            f"deviation {recipe.sigma:g} of the pixel range, clipped and rounded to uint8; all get the same noisy "
            "pixels and give rounded and clipped ones back. Ours is the served module. The filters are scikit-image's, "
            f"each tuned by grid search on {min(TUNED_ON, len(data.train))} noisy training images whose clean "
            "versions are known. Clipped noise makes black dark grey, which a filter alone cannot undo: each also "
            "stands with a brightness correction behind it (a straight line fitted to the same training images, and "
            "the filter tuned anew for it), and the floor is held against the best of all six."
        ),
        tables=(_table(psnr(noisy, clean), tuned, reached, ours),),
        pictures={"filters.png": "Held-out images, clean and noisy, and what each makes of them: the better of each "
                                 "filter's two versions, and the autoencoder"},
    )  # fmt: skip


def tuned_filters(data: Images, sigma: float) -> list[Tuned]:
    """Each filter alone and corrected, tuned on training images with the recipe's own noise."""
    clean = spread(data.train, TUNED_ON)
    noisy = add_noise(clean, sigma)
    return [tuned for contender in contenders(sigma) for tuned in tune(contender, noisy, clean)]


def _table(noisy: float, tuned: list[Tuned], reached: list[float], ours: float) -> Table:
    rows = [("noisy", "", "", f"{noisy:.2f}")]
    for one, value in zip(tuned, reached, strict=True):
        settings = ", ".join(f"{name} {setting}" for name, setting in one.settings.items())
        correction = f"{one.line[0]:.2f} x {one.line[1]:+.2f}" if one.corrected else ""
        rows.append((one.filter.name, settings, correction, f"{value:.2f}"))
    rows.append(("**autoencoder**", "", "", f"**{ours:.2f}**"))
    return Table("Against the filters", ("", "tuned settings", "brightness correction", "PSNR, dB"), tuple(rows))


def _draw(
    path: Path, clean: Pixels, noisy: Pixels, tuned: list[Tuned], filtered: list[Pixels], denoised: Pixels
) -> None:
    rows = {"clean": clean, "noisy": noisy}
    for name in dict.fromkeys(one.filter.name for one in tuned):
        versions = [(psnr(images, clean), images) for one, images in zip(tuned, filtered, strict=True)
                    if one.filter.name == name]  # fmt: skip
        rows[name] = max(versions, key=lambda version: version[0])[1]
    rows["autoencoder"] = denoised
    named = {name if name == "clean" else f"{name}\n{psnr(images, clean):.1f} dB": images[:SHOWN]
             for name, images in rows.items()}  # fmt: skip
    draw_rows(named, path)
