"""What a folder's image processor does to a picture, as far as a graph can do it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conch.contracts.errors import ConchError

FILTERS = {2: "linear", 3: "cubic"}
"""ONNX's name of Pillow's filters that its Resize has, by Pillow's number."""
CROPPED_BELOW = 384
"""ConvNext's processor cuts smaller pictures out of larger ones, and stretches the others."""
LEAVE = "leave --with-image-processor out, and let the client prepare pictures"


@dataclass(frozen=True)
class Steps:
    """Resize, crop, rescale, normalise, in this order."""

    kind: str
    """The class of the processor."""
    size: tuple[int, int] | int
    """Height and width, or the shorter side alone, which the longer one follows in proportion."""
    filter: str
    """Of ONNX's Resize."""
    crop: tuple[int, int] | None
    """Height and width of the middle that is cut out."""
    scale: float
    """What values of 0 to 255 are multiplied by; 1 where they are not rescaled."""
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Of the pixels that the model gets."""
        size = self.crop or self.size
        assert isinstance(size, tuple)
        return size


def steps_of(processor: Any) -> Steps:
    """The steps of an image processor of transformers, run by Pillow.

    Only what it says of itself is read here: whether the graph then does the same is for the proof to show.

    Raises:
        ConchError: it does something that the graph has no operator for.
    """
    kind = type(processor).__name__
    _refuse(kind, _odd_steps(processor))
    size, crop = _size_and_crop(processor, kind)
    if int(processor.resample) not in FILTERS:
        _refuse(
            kind, f"resizes by Pillow's filter {int(processor.resample)}, and ONNX has bilinear (2) and bicubic (3)"
        )
    normalised = bool(processor.do_normalize)
    return Steps(
        kind, size, FILTERS[int(processor.resample)], crop,
        float(processor.rescale_factor) if processor.do_rescale else 1.0,
        _three(processor.image_mean if normalised else 0.0, kind),
        _three(processor.image_std if normalised else 1.0, kind),
    )  # fmt: skip


def _refuse(kind: str, reason: str) -> None:
    if reason:
        raise ConchError(f"--with-image-processor: {kind} {reason}; {LEAVE}")


def _odd_steps(processor: Any) -> str:
    """What it does that no attribute of the usual steps tells; empty where there is nothing."""
    base = next((cls for cls in type(processor).__mro__ if cls.__name__ == "PilBackend"), None)
    if base is None:
        return "is none that transformers runs by Pillow"
    if not processor.do_resize:
        return "does not resize, so that pictures of several sizes stand in no batch"
    for flag in ("do_pad", "do_flip_channel_order", "do_thumbnail", "do_align_long_axis", "do_image_splitting"):
        if getattr(processor, flag, None):
            return f"has the step {flag}, which is not covered"
    own = [
        name
        for name in ("resize", "center_crop", "rescale", "normalize", "process_image")
        if getattr(type(processor), name) is not getattr(base, name)
        and not (name == "resize" and _is_convnext(processor))
    ]
    return f"has a {own[0]} of its own, which is not covered" if own else ""


def _is_convnext(processor: Any) -> bool:
    return type(processor).__name__ == "ConvNextImageProcessorPil"


def _size_and_crop(processor: Any, kind: str) -> tuple[tuple[int, int] | int, tuple[int, int] | None]:
    given = processor.size
    shortest, height, width = given.shortest_edge, given.height, given.width
    if _is_convnext(processor) and shortest:
        if shortest >= CROPPED_BELOW:
            return (shortest, shortest), None
        return int(shortest / processor.crop_pct), (shortest, shortest)
    size: tuple[int, int] | int = (height, width) if height and width else shortest or 0
    if not size or (isinstance(size, int) and given.longest_edge):
        _refuse(kind, f"resizes to {given}; covered are height and width, or the shortest_edge")
    crop = None
    if getattr(processor, "do_center_crop", False):
        crop = (processor.crop_size.height, processor.crop_size.width)
        least = size if isinstance(size, tuple) else (size, size)
        if crop[0] > least[0] or crop[1] > least[1]:
            _refuse(kind, f"cuts {list(crop)} out of pictures of {list(least)}, and fills up what is missing")
    elif isinstance(size, int):
        _refuse(kind, "leaves pictures of different shape different, which stand in no batch")
    return size, crop


def _three(given: Any, kind: str) -> tuple[float, float, float]:
    values = tuple(map(float, given)) if isinstance(given, list | tuple) else (float(given),) * 3
    if len(values) != 3:
        _refuse(kind, f"normalises {len(values)} channels, and a picture has three")
    return values  # type: ignore[return-value]  # three
