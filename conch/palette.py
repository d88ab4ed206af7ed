"""Colours for charts of any number of lines, none of them twice."""

import colorsys

COLOURS = ("#2f6db3", "#d1662b", "#3d8b57", "#7a5aa6", "#a8892c", "#3a9aa8", "#b3568b", "#5f6b76")
GOLDEN_RATIO = 0.618033988749895  # steps of it around the circle of hues never meet


def colours(count: int) -> list[str]:
    """The first `count` colours as #rrggbb: those above, then hues spread over the circle in three lightnesses."""
    found = list(COLOURS[:count])
    step = 0
    while len(found) < count:
        red, green, blue = colorsys.hls_to_rgb((0.05 + step * GOLDEN_RATIO) % 1, (0.3, 0.45, 0.6)[step % 3], 0.65)
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))
        if colour not in found:
            found.append(colour)
        step += 1
    return found
