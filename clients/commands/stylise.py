"""conch call stylise photo.jpg --out painted.png"""

from dataclasses import dataclass

from clients.commands.redraw import Redraw


@dataclass(frozen=True, kw_only=True)
class Stylise(Redraw):
    """Write pictures in the manner that the model has learnt, of any size.

    conch call stylise *.jpg --out painted/
    """

    model: str = "style"
    """A model on the server with one picture in and one out."""
