"""conch call enlarge small.jpg --out large.png"""

from dataclasses import dataclass

from clients.commands.redraw import Redraw


@dataclass(frozen=True, kw_only=True)
class Enlarge(Redraw):
    """Write pictures as large as the model makes them, of any size in.

    conch call enlarge *.jpg --out large/
    """

    model: str = "superresolution"
    """A model on the server with one picture in and one out."""
