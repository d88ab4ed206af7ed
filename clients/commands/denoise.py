"""conch call denoise noisy.png --out clean.png

conch call denoise *.png --out clean/
"""

from dataclasses import dataclass

from clients.commands.redraw import Redraw


@dataclass(frozen=True, kw_only=True)
class Denoise(Redraw):
    """Clean pictures, and say how far each was from what the model knows (its error score)."""

    model: str = "autoencoder"
    """A model on the server with one picture in and one out."""
